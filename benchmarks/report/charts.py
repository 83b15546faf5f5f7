"""The kinds of plots, each with a description in words and the table of the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lorair.benchmarks.report import draw
from lorair.benchmarks.report.content import Plot
from lorair.benchmarks.schema.statistics import Estimate
from lorair.benchmarks.tables.cells import by_column, number, rounded
from lorair.runtime.system.table import Cell

_LOG_FROM: Final = 12.0
"""Values that differ by more than this are drawn on a logarithmic axis."""

STAGES: Final = {
    "router": "blue", "routing": "blue", "restorer": "orange", "restoring": "orange",
    "load": "green", "start": "purple", "decode": "sky", "decoding": "sky",
    "encode": "vermillion", "encoding": "vermillion", "views": "olive", "others": "grey",
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A unit of an axis. scale: times a file's number."""

    name: str
    scale: float = 1.0

    def cell(self, value: float) -> Cell:
        """Return a cell of a file's number."""
        return number(value, self.scale)

    def all(self, values: Sequence[float]) -> list[float]:
        """Return files' numbers in this unit."""
        return [value * self.scale for value in values]

    def words(self, value: float) -> str:
        """Return a file's number in words."""
        return f"{rounded(value * self.scale)} {self.name}"


SECONDS: Final = Unit("seconds")
MILLISECONDS: Final = Unit("milliseconds", 1e3)
GIGABYTES: Final = Unit("GB", 1e-9)
MEGABYTES: Final = Unit("MB", 1e-6)


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
        return cls(name, values, *Estimate.of(values))


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


def strips(name: str, title: str, unit: Unit, rows: Sequence[Strip], detail: str = "") -> Plot:
    """Plot every sample of each row, with its median and interval. detail: follows the unit."""
    figure, axes = draw.canvas(title, 118 + 44 * len(rows), unit.name + detail)
    for y, row in _places(rows):
        _samples(axes, y, replace(row, values=unit.all(row.values)))
        median, *ends = unit.all([row.median, row.low, row.high])
        axes.plot(ends, [y - 0.3] * 2, color=draw.LIGHT["ink"], lw=3.5, solid_capstyle="butt")
        axes.plot([median] * 2, [y - 0.4, y - 0.2], color=draw.LIGHT["ink"], lw=1.5)
        _name(axes, y, row.name, rounded(median))
    _rows_axis(axes, len(rows), [v for row in rows for v in unit.all(row.values)])
    handles = {
        "sample": draw.dot("o", draw.LIGHT["blue"], ms=4.5),
        "median, 95 % interval": Line2D([], [], color=draw.LIGHT["ink"], lw=3.5),
    }
    if any(row.outliers for row in rows):
        handles["outlier"] = draw.dot("D", draw.LIGHT["vermillion"], ms=4.5)
    if any(row.warmup for row in rows):
        handles["warm-up"] = draw.dot("o", draw.LIGHT["blue"], "none", ms=4.5)
    draw.place_legend(figure, list(handles.values()), list(handles))
    cells = {r.name: {str(i + 1): _sample(r, i, unit) for i in range(len(r.values))} for r in rows}
    marks = "; w: warm-up, o: outlier" if any(r.warmup or r.outliers for r in rows) else ""
    alt = f"{title}. Medians: {'; '.join(f'{r.name} {unit.words(r.median)}' for r in rows)}."
    return Plot(name, figure, alt, by_column(f"{title}, {unit.name}{marks}", ">round", cells))


def _samples(axes: Axes, y: float, row: Strip) -> None:
    for i, value in enumerate(row.values):
        # The golden ratio spreads neighbours; a random jitter would change from page to page.
        offset = i * 0.618 % 1 * 0.22 - 0.13
        outlier, warm = i in row.outliers, i < row.warmup
        color = draw.LIGHT["vermillion" if outlier else "blue"]
        axes.plot(value, y + offset, marker="D" if outlier else "o", ms=4.5 if outlier else 4,
                  mfc="none" if warm else color, mec=color, mew=1, alpha=0.8, ls="")  # fmt: skip


def _sample(row: Strip, i: int, unit: Unit) -> Cell:
    cell = unit.cell(row.values[i])
    mark = " w" if i < row.warmup else " o" if i in row.outliers else ""
    return replace(cell, text=cell.text + mark)


def stacked(
    name: str, title: str, unit: Unit, rows: Mapping[str, Mapping[str, float]], detail: str = ""
) -> Plot:
    """Plot a bar of parts for each row; parts that are small everywhere are drawn together."""
    parts = _large(rows)
    figure, axes = draw.canvas(title, 118 + 44 * len(rows), unit.name + detail)
    for y, (row, values) in _places(list(rows.items())):
        left = 0.0
        for part, color in parts.items():
            width = values.get(part, 0.0)
            if part == "others":
                width = sum(v for k, v in values.items() if k not in parts)
            axes.barh(y - 0.14, width * unit.scale, left=left, height=0.36, color=color)
            left += width * unit.scale
        _name(axes, y, row, rounded(left))
    _rows_axis(axes, len(rows), [])
    handles = [Patch(color=color) for color in parts.values()]
    draw.place_legend(figure, handles, [draw.short(part) for part in parts])
    sums = "; ".join(f"{n} {unit.words(sum(values.values()))}" for n, values in rows.items())
    cells = {n: {k: unit.cell(v) for k, v in values.items()} for n, values in rows.items()}
    table = by_column(f"{title}, {unit.name}{detail}", "part", cells)
    return Plot(name, figure, f"{title}. Sums of the parts: {sums}.", table)


def _large(rows: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The parts that are drawn by themselves, and their colours."""
    names = list(dict.fromkeys(part for values in rows.values() for part in values))
    large = [
        part for part in names
        if any(v.get(part, 0.0) > 0.04 * sum(v.values()) for v in rows.values())
    ]  # fmt: skip
    taken = {draw.LIGHT[STAGES[part]] for part in large if part in STAGES}
    free = iter([color for color, _ in draw.SERIES if color not in taken])
    colors = {
        part: draw.LIGHT[STAGES[part]] if part in STAGES else next(free, draw.LIGHT["muted"])
        for part in large
    }
    return colors | ({"others": draw.LIGHT["grey"]} if len(large) < len(names) else {})


def lines(
    name: str, title: str, x: str, unit: Unit, curves: Sequence[Curve], log: tuple[bool, bool]
) -> Plot:
    """Plot curves over x, a marker at each measured point. log: of x and of y."""
    parts = [
        f"{c.name} from {unit.words(c.y[0])} at {c.x[0]:.3g} to {unit.words(c.y[-1])} at "
        f"{c.x[-1]:.3g} {x}"
        for c in curves
    ]
    named = [list(zip(c.names or [f"{v:g}" for v in c.x], c.x, c.y, strict=True)) for c in curves]
    order = {point: at for points in named for point, at, _ in points}
    cells = {
        c.name: {point: unit.cell(y) for point, _, y in points}
        for c, points in zip(curves, named, strict=True)
    }
    table = by_column(f"{title}, {unit.name}", x, cells, sorted(order, key=lambda p: order[p]))
    scaled = [
        replace(c, y=unit.all(c.y), low=unit.all(c.low), high=unit.all(c.high)) for c in curves
    ]
    figure = _curves(title, x, unit.name, scaled, log)
    return Plot(name, figure, f"{title}: {'; '.join(parts)}.", table)


def _curves(
    title: str, xlabel: str, ylabel: str, curves: Sequence[Curve], log: tuple[bool, bool]
) -> Figure:
    figure, axes = draw.canvas(title, 250 + 16 * (-(-len(curves) // 2)), xlabel, ylabel)
    for i, one in enumerate(curves):
        color, marker = draw.SERIES[i % len(draw.SERIES)]
        axes.plot(
            one.x, one.y, color=color, marker=marker, ms=5.5, lw=1.8, label=draw.short(one.name)
        )
        if one.low:
            axes.vlines(one.x, one.low, one.high, color=color, lw=1.2)
    ys = [y for one in curves for y in (*one.y, *one.low, *one.high)]
    _measured_axis(axes, sorted({x for one in curves for x in one.x}), log[0])
    if log[1] and min(ys, default=0) > 0:
        draw.log_axis(axes, "y", min(ys), max(ys))
    else:
        axes.set_ylim(0, max(ys, default=1.0) * 1.08 or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(True)
    draw.place_legend(figure, *axes.get_legend_handles_labels(), columns=2)
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
        draw.log_axis(axes, "x", xs[0], xs[-1])
    if len(xs) == 1:
        axes.set_xlim(xs[0] * 0.5, xs[0] * 1.5)


def _places(rows: Sequence[Any]) -> list[tuple[int, Any]]:
    """Rows from the top down, with their heights."""
    return [(len(rows) - 1 - i, row) for i, row in enumerate(rows)]


def _name(axes: Axes, y: float, name: str, value: str) -> None:
    """Above a row, where there is more room than beside it."""
    place = axes.get_yaxis_transform()
    axes.text(0, y + 0.2, draw.short(name), transform=place, va="bottom")
    axes.text(1, y + 0.2, value, transform=place, va="bottom", ha="right", color=draw.LIGHT["ink"])


def _rows_axis(axes: Axes, count: int, values: Sequence[float]) -> None:
    axes.set_ylim(-0.55, count - 0.35)
    draw.hide_y(axes)
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    if low > 0 and high / low > _LOG_FROM:
        draw.log_axis(axes, "x", low, high)
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
