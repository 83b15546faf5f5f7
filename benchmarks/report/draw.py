"""Write figures as SVG, inside a page or in a file, and as PNG."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Final
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from lorair.benchmarks.report.charts import STYLE
from lorair.benchmarks.report.content import Plot
from lorair.benchmarks.report.palette import LIGHT, variable

_PNG_DPI: Final = 216  # three pixels a unit
_NO_DATE: Final = {"Date": None}
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")


@contextmanager
def style() -> Iterator[None]:
    """Set the style in which everything is drawn and written within the block."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
        matplotlib.rcParams.update(STYLE)
        # A label in another script: browsers have its letters.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


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
            element.set("style", _COLOR.sub(lambda m: variable(m[0]), element.get("style", "")))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", _xml(plot.alt))
    return ElementTree.tostring(root, "unicode")


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


def _xml(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
