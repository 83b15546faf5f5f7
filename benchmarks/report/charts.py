"""Draw the kinds of plots, for the width of a phone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lorair.benchmarks.report.palette import LIGHT, MARKERS, SERIES
from lorair.benchmarks.schema.statistics import median_interval
from lorair.benchmarks.tables.cells import rounded

WIDTH: Final = 360.0
"""Of a plot, in units that are pixels on a phone."""

STYLE: Final[Any] = {  # its keys are literals that differ between versions
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same widths everywhere
    "font.size": 10.5,
    "text.parse_math": False,  # a label with dollars is a label
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.8,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lorair",
}

_UNIT: Final = 72.0
_NAME: Final = 36
_LOG_FROM: Final = 12.0
"""Values that differ by more than this are drawn on a logarithmic axis."""

STAGES: Final = {
    "router": "blue", "routing": "blue", "restorer": "orange", "restoring": "orange",
    "load": "green", "start": "purple", "decode": "sky", "decoding": "sky",
    "encode": "vermillion", "encoding": "vermillion", "views": "olive", "others": "grey",
}  # fmt: skip


@dataclass(frozen=True)
class Strip:
    """A series of samples, with the median and its interval.

    warmup: how many of the first samples are warm-up. outliers: positions in `values`.
    """

    name: str
    values: Sequence[float]
    median: float
    low: float
    high: float
    warmup: int = 0
    outliers: Sequence[int] = ()

    @classmethod
    def of(cls, name: str, values: Sequence[float]) -> "Strip":
        """Return the strip of samples that all count."""
        return cls(name, values, float(np.median(values)), *median_interval(values))


@dataclass(frozen=True)
class Curve:
    """Points joined by a line.

    names: of the points, for tables; empty for the values of x. low, high: ends of error bars;
    empty without any.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    names: Sequence[str] = ()


def canvas(title: str, height: float, xlabel: str, ylabel: str = "") -> tuple[Figure, Axes]:
    """Return an empty plot of `WIDTH` x height (at least 150)."""
    size = (WIDTH / _UNIT, max(height, 150.0) / _UNIT)
    figure = Figure(figsize=size, dpi=_UNIT, layout="constrained")
    axes = figure.add_subplot()
    heading = fill(_clean(title), 46)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def strips(title: str, xlabel: str, rows: Sequence[Strip]) -> Figure:
    """Draw every sample of each series, with the median and its interval."""
    figure, axes = canvas(title, 118 + 44 * len(rows), xlabel)
    for y, row in _places(rows):
        _samples(axes, y, row)
        axes.plot([row.low, row.high], [y - 0.3] * 2, color=LIGHT["ink"], lw=3.5,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot([row.median] * 2, [y - 0.4, y - 0.2], color=LIGHT["ink"], lw=1.5)
        _name(axes, y, row.name, rounded(row.median))
    _rows_axis(axes, len(rows), [v for row in rows for v in row.values])
    handles = [_dot("o", "blue", "sample"), Line2D([], [], color=LIGHT["ink"], lw=3.5)]
    labels = ["sample", "median, 95 % interval"]
    if any(row.outliers for row in rows):
        handles.append(_dot("D", "vermillion", "outlier"))
        labels.append("outlier")
    if any(row.warmup for row in rows):
        handles.append(_dot("o", "blue", "warm-up", hollow=True))
        labels.append("warm-up")
    place_legend(figure, handles, labels)
    return figure


def _samples(axes: Axes, y: float, row: Strip) -> None:
    # The golden ratio spreads neighbours; a random jitter would change from page to page.
    offsets = np.mod(np.arange(len(row.values)) * 0.618, 1) * 0.22 - 0.13
    for i, (value, offset) in enumerate(zip(row.values, offsets, strict=True)):
        outlier, warm = i in row.outliers, i < row.warmup
        color = LIGHT["vermillion" if outlier else "blue"]
        axes.plot(value, y + offset, marker="D" if outlier else "o", ms=4.5 if outlier else 4,
                  mfc="none" if warm else color, mec=color, mew=1, alpha=0.8, ls="")  # fmt: skip


def stacked(title: str, xlabel: str, rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw a bar of parts for each row; parts that are small everywhere are drawn together."""
    parts = _large(rows)
    figure, axes = canvas(title, 118 + 44 * len(rows), xlabel)
    for y, (name, values) in _places(list(rows.items())):
        left = 0.0
        for part, color in parts.items():
            width = values.get(part, 0.0)
            if part == "others":
                width = sum(v for k, v in values.items() if k not in parts)
            axes.barh(y - 0.14, width, left=left, height=0.36, color=color)
            left += width
        _name(axes, y, name, rounded(left))
    _rows_axis(axes, len(rows), [])
    handles = [Patch(color=color) for color in parts.values()]
    place_legend(figure, handles, [short(part) for part in parts])
    return figure


def _large(rows: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The parts that are drawn by themselves, and their colours."""
    names = list(dict.fromkeys(part for values in rows.values() for part in values))
    large = [
        part for part in names
        if any(v.get(part, 0.0) > 0.04 * sum(v.values()) for v in rows.values())
    ]  # fmt: skip
    free = [c for c in SERIES if c not in {LIGHT[STAGES[p]] for p in large if p in STAGES}]
    colors: dict[str, str] = {}
    for part in large:
        known = STAGES.get(part)
        colors[part] = LIGHT[known] if known else free.pop(0) if free else LIGHT["muted"]
    if len(large) < len(names):
        colors["others"] = LIGHT["grey"]
    return colors


def lines(
    title: str, xlabel: str, ylabel: str, series: Sequence[Curve], log: tuple[bool, bool]
) -> Figure:
    """Draw curves with a marker at each measured point. log: of x and of y."""
    figure, axes = canvas(title, 250 + 16 * (-(-len(series) // 2)), xlabel, ylabel)
    for i, one in enumerate(series):
        color, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
        axes.plot(one.x, one.y, color=color, marker=marker, ms=5.5, lw=1.8, label=short(one.name))
        if one.low:
            axes.vlines(one.x, one.low, one.high, color=color, lw=1.2)
    xs = sorted({x for one in series for x in one.x})
    ys = [y for one in series for y in (*one.y, *one.low, *one.high)]
    _measured_axis(axes, xs, log[0])
    if log[1] and min(ys, default=0) > 0:
        log_axis(axes, "y", min(ys), max(ys))
    else:
        axes.set_ylim(0, max(ys, default=1.0) * 1.08 or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(True)
    handles, labels = axes.get_legend_handles_labels()
    place_legend(figure, handles, labels, columns=2)
    return figure


def _measured_axis(axes: Axes, xs: Sequence[float], log: bool) -> None:
    """Ticks where something was measured, if there is room for them."""
    if log:
        axes.set_xscale("log")
    if len(xs) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(list(xs)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    elif log:
        log_axis(axes, "x", xs[0], xs[-1])
    if len(xs) == 1:
        axes.set_xlim(xs[0] * 0.5, xs[0] * 1.5)


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic, with plain numbers: 1, 2, 5, 10, or fewer where it is long."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    decades = np.log10(high / low) if low else 9.0
    steps = (1, 2, 5) if decades < 2.5 else (1, 3) if decades < 3.5 else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def place_legend(figure: Figure, handles: list[Any], labels: list[str], columns: int = 0) -> None:
    """Put the legend below the plot; columns: 0 takes as many as there is room for."""
    wide = any(len(label) > 14 for label in labels)
    count = columns or (2 if wide or len(labels) == 4 else 3)
    if any(len(label) > 24 for label in labels):
        count = 1
    figure.legend(handles, labels, loc="outside lower left", ncols=count, fontsize=10,
                  handlelength=1.6, columnspacing=1.4)  # fmt: skip


def _places(rows: Sequence[Any]) -> list[tuple[int, Any]]:
    """Rows from the top down, with their heights."""
    return [(len(rows) - 1 - i, row) for i, row in enumerate(rows)]


def _name(axes: Axes, y: float, name: str, value: str) -> None:
    """Above a row, where there is more room than beside it."""
    place = axes.get_yaxis_transform()
    axes.text(0, y + 0.2, short(name), transform=place, va="bottom")
    axes.text(1, y + 0.2, value, transform=place, va="bottom", ha="right", color=LIGHT["ink"])


def _rows_axis(axes: Axes, count: int, values: Sequence[float]) -> None:
    axes.set_ylim(-0.55, count - 0.35)
    hide_y(axes)
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    if low > 0 and high / low > _LOG_FROM:
        log_axis(axes, "x", low, high)
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))


def hide_y(axes: Axes) -> None:
    """Leave only the x axis and its grid."""
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")


def _dot(marker: str, role: str, label: str, hollow: bool = False) -> Line2D:
    color = LIGHT[role]
    return Line2D([], [], ls="", marker=marker, ms=4.5, mec=color, label=label,
                  mfc="none" if hollow else color)  # fmt: skip


def short(name: str) -> str:
    """Return as much of a name as fits on one line, without what XML cannot hold."""
    name = _clean(name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold, and on one line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())
