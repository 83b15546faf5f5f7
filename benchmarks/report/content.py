"""What a report is made of, before it is a page or Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorair.benchmarks.schema.quality import Preview
from lorair.benchmarks.schema.results_file import Report
from lorair.runtime.system.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Source:
    """A result file.

    label: its name, or its path where several have that name. anchor: letters, digits and
    hyphens of the label; anchors and file names of its parts add an underscore and more.
    """

    path: Path
    label: str
    anchor: str
    report: Report


@dataclass(frozen=True)
class Plot:
    """A figure. name: for files and anchors. alt: what it shows, in words. table: its data."""

    name: str
    figure: "Figure"
    alt: str
    table: Table


@dataclass(frozen=True)
class Slider:
    """A picture before and after. scores: in words."""

    name: str
    scores: str
    preview: Preview


@dataclass(frozen=True)
class Section:
    """A heading and what is under it. code: a command line. summary: tables for Markdown."""

    anchor: str
    title: str
    badges: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    code: str | None = None
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    sliders: tuple[Slider, ...] = ()
    parts: tuple["Section", ...] = ()
    summary: tuple[Table, ...] = ()

    def walk(self) -> Iterator["Section"]:
        """Yield this section and everything below it, in the order of the page."""
        yield self
        for part in self.parts:
            yield from part.walk()


def slug(text: str) -> str:
    """Return a text's letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
