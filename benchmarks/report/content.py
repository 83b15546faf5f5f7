"""What a report is made of, before it is a page or Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lorair.benchmarks.schema import Preview, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Source:
    """A result file.

    label: its name, or its path where several have that name. anchor: like it, letters, digits
    and hyphens; anchors and file names of its parts add an underscore and more.
    """

    path: Path
    label: str
    anchor: str
    report: Report


@dataclass(frozen=True)
class Cell:
    """A table's cell. value: the file's number behind the rounded text, if it is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Columns that start with `>` are right-aligned. folded: closed until it is asked for."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure. name: for files and anchors. alt: what it shows, in words. table: its data."""

    name: str
    figure: "Figure"
    alt: str
    table: Table


@dataclass(frozen=True)
class Slider:
    """Before and after of one picture. scores: in words."""

    name: str
    scores: str
    preview: Preview


@dataclass(frozen=True)
class Section:
    """A heading and what is under it. code: a command line. summary: tables for a README."""

    anchor: str
    title: str
    badges: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    code: str | None = None
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    sliders: tuple[Slider, ...] = ()
    parts: tuple["Section", ...] = ()
    summary: tuple[Table, ...] = field(default=(), repr=False)

    def walk(self) -> Iterator["Section"]:
        """This and everything below, in the order of the page."""
        yield self
        for part in self.parts:
            yield from part.walk()


def slug(text: str) -> str:
    """Letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def text(value: object) -> Cell:
    """A cell that is no number; a dash for None."""
    return Cell("–" if value is None else str(value))


def rounded(value: float) -> str:
    """Three digits or more, none behind the point from 100 on."""
    if abs(value) < 1:
        return f"{value:.3g}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def number(value: float | None, scale: float = 1.0) -> Cell:
    """A measured number, shown times `scale`; a dash for None."""
    return Cell("–") if value is None else Cell(rounded(value * scale), float(value))


def milliseconds(seconds: float | None) -> Cell:
    """Seconds, shown in milliseconds."""
    return number(seconds, 1e3)


def gigabytes(size: float | None) -> Cell:
    """Bytes, shown in GB."""
    return number(size, 1e-9)
