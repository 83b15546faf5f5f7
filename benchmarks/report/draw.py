"""Empty plots for the width of a phone, and figures as SVG, inside a page or in a file, and as PNG.

Colours of series are by Okabe and Ito, and can be told apart with every kind of colour vision;
some are darkened or lightened so that they stand out from the paper.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from textwrap import fill
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lorair.benchmarks.report.content import Plot

ROLES: Final[dict[str, tuple[str, str]]] = {
    "paper": ("#ffffff", "#14171b"),
    "panel": ("#f4f6f8", "#1d2127"),
    "ink": ("#1b1f24", "#e7e9ec"),
    "muted": ("#59626d", "#a7afb9"),
    "line": ("#d3d9df", "#3b424b"),
    "link": ("#005a8e", "#6cb8ee"),
    "alert": ("#a33c00", "#ff9a5c"),
    "blue": ("#0072b2", "#4aa3df"),
    "orange": ("#e69f01", "#f0b43c"),
    "green": ("#009e73", "#2fc79c"),
    "vermillion": ("#d55e00", "#f07f3a"),
    "purple": ("#b4608f", "#e09cc4"),
    "sky": ("#56b4e9", "#8fd0f7"),
    "olive": ("#8f8400", "#e5da4a"),
    "grey": ("#8a9199", "#8d959e"),
}
"""Of each role the colour on light and on dark paper."""

LIGHT: Final = {role: light for role, (light, _) in ROLES.items()}
_SERIES: Final = [
    LIGHT[role] for role in ("blue", "orange", "green", "vermillion", "purple", "sky", "olive")
]
SERIES: Final = list(zip(_SERIES, "os^DvPX", strict=True))
"""Colours and markers of series, in their order."""

_STYLE: Final[Any] = {  # its keys are literals that differ between versions
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
WIDTH: Final = 360.0
"""Of a plot, in units that are pixels on a phone."""

_UNIT: Final = 72.0
_NAME: Final = 36
_PNG_DPI: Final = 216  # three pixels a unit
_NO_DATE: Final = {"Date": None}
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_VARIABLES: Final = {light: f"var(--{role})" for role, light in LIGHT.items()}


def declarations(dark: bool) -> str:
    """Return the CSS variables of one theme."""
    return " ".join(f"--{role}: {both[dark]};" for role, both in ROLES.items())


@contextmanager
def style() -> Iterator[None]:
    """Set the style in which everything is drawn and written within the block."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
        matplotlib.rcParams.update(_STYLE)
        # A label in another script: browsers have its letters.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def canvas(title: str, height: float, xlabel: str, ylabel: str = "") -> tuple[Figure, Axes]:
    """Return an empty plot of `WIDTH` x height (at least 150)."""
    size = (WIDTH / _UNIT, max(height, 150.0) / _UNIT)
    figure = Figure(figsize=size, dpi=_UNIT, layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(fill(_clean(title), 46), x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure, axes


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic, with plain numbers: 1, 2, 5, 10, or fewer where it is long."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    decades = np.log10(high / low) if low else 9.0
    steps = (1, 2, 5) if decades < 2.5 else (1, 3) if decades < 3.5 else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def hide_y(axes: Axes) -> None:
    """Leave only the x axis and its grid."""
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")


def place_legend(figure: Figure, handles: list[Any], labels: list[str], columns: int = 0) -> None:
    """Put the legend below the plot; columns: 0 takes as many as there is room for."""
    longest = max(map(len, labels), default=0)
    count = columns or (2 if longest > 14 or len(labels) == 4 else 3)
    figure.legend(handles, labels, loc="outside lower left", ncols=1 if longest > 24 else count,
                  fontsize=10, handlelength=1.6, columnspacing=1.4)  # fmt: skip


def dot(marker: str, color: str, face: str | None = None, **style: Any) -> Line2D:
    """Return a legend's marker; face: its inside, where that has another colour."""
    return Line2D([], [], ls="", marker=marker, mec=color, mfc=face or color, **style)


def short(name: str) -> str:
    """Return as much of a name as fits on one line, without what XML cannot hold."""
    name = _clean(name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold, and on one line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, on light paper, 1080 pixels wide."""
    return _saved(figure, "png", LIGHT["paper"])


def svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file, on light paper."""
    return _saved(figure, "svg", LIGHT["paper"])


def inline_svg(plot: Plot) -> str:
    """Return an element for a page: colours are CSS variables, ids begin with the plot's name."""
    root = ElementTree.fromstring(_saved(plot.figure, "svg", "none"))
    _plain_names(root)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {"metadata", "style"}:
                parent.remove(child)
    _own_ids(root, plot.name)
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", _COLOR.sub(_variable, element.get("style", "")))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", "".join(c if c.isprintable() else " " for c in plot.alt))
    return ElementTree.tostring(root, "unicode")


def _variable(color: re.Match[str]) -> str:
    """The CSS variable of a light colour; other colours stay."""
    return _VARIABLES.get(color[0].lower(), color[0])


def _saved(figure: Figure, form: str, paper: str) -> bytes:
    stream, is_png = BytesIO(), form == "png"
    figure.savefig(stream, format=form, facecolor=paper, dpi=_PNG_DPI if is_png else 72,
                   metadata=None if is_png else _NO_DATE)  # fmt: skip
    return stream.getvalue()


def _plain_names(root: ElementTree.Element) -> None:
    """HTML knows SVG without namespaces."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in list(element.attrib):
            if "}" in name:
                element.set(name.rpartition("}")[2], element.attrib.pop(name))


def _own_ids(root: ElementTree.Element, prefix: str) -> None:
    """Only ids that something refers to, unlike those of every other plot of the page."""
    used = {e.get("href", "")[1:] for e in root.iter()}
    for element in root.iter():
        for name, value in element.attrib.items():
            used.update(_REFERENCE.findall(value))
            element.set(name, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))
    for element in root.iter():
        if "href" in element.attrib:
            element.set("href", f"#{prefix}-{element.get('href', '')[1:]}")
        if (found := element.attrib.pop("id", None)) in used:
            element.set("id", f"{prefix}-{found}")
