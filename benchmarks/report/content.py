"""What a report is made of, before it is a page or Markdown, and what every file's section says."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lorair.benchmarks.schema.quality import Preview
from lorair.benchmarks.schema.results_file import Report
from lorair.benchmarks.tables.cells import text
from lorair.runtime.system.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

R = TypeVar("R", bound=Report, covariant=True)

INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Source(Generic[R]):
    """A result file.

    label: its name, or its path where several have that name. anchor: letters, digits and
    hyphens of the label; anchors and file names of its parts add an underscore and more.
    """

    path: Path
    label: str
    anchor: str
    report: R


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
    remarks: Sequence[str] = ()
    code: str | None = None
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    sliders: Sequence[Slider] = ()
    parts: Sequence["Section"] = ()
    summary: Sequence[Table] = ()

    def walk(self) -> Iterator["Section"]:
        """Yield this section and everything below it, in the order of the page."""
        yield self
        for part in self.parts:
            yield from part.walk()


def slug(text: str) -> str:
    """Return a text's letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def file_section(
    source: Source[Report],
    remarks: Sequence[str] = (),
    findings: Sequence[str] = (),
    **content: Any,
) -> Section:
    """Return a file's section: what was measured, when, by which command, and what was found.

    remarks: of the measurement, for one line. findings: sentences, each a paragraph. content: the
    section's tables, plots, sliders, parts and summary.
    """
    report = source.report
    bundles = ", ".join(f"{b.label} ({b.precision})" for b in report.bundles)
    said = [bundles, *remarks, _machine(report), _day(report) or "date not known"]
    lines = ["; ".join(part for part in said if part) + ".", *findings, *report.notes]
    if not report.complete:
        lines.insert(0, "This run was interrupted or failed: it lacks some of what was asked for.")
    badges = () if report.complete else (INCOMPLETE,)
    return Section(source.anchor, source.label, badges, lines, _command(report), **content)


def overview(sources: Sequence[Source[Report]]) -> Table:
    """Return one line for each file, which leads to its section."""
    rows = tuple(
        (text(s.label), text(s.report.kind), text("yes" if s.report.complete else INCOMPLETE),
         text(_day(s.report)), text(_machine(s.report)))
        for s in sources
    )  # fmt: skip
    return Table("What this page is made of", ("file", "kind", "complete", "date", "machine"), rows)


def environments(sources: Sequence[Source[Report]]) -> Section:
    """Return the machine, versions and settings of every file."""
    parts = [
        Section(f"{s.anchor}_environment", s.label, tables=[_environment(s.report)])
        for s in sources
    ]
    return Section("environment", "Environment", parts=parts)


def _environment(report: Report) -> Table:
    e = report.environment
    known: dict[str, object] = {
        "command": _command(report), "date": report.date, "processor": e.cpu, "cores": e.cores,
        "affinity": e.affinity and ", ".join(map(str, e.affinity)), "CPU quota": e.cpu_quota,
        "memory, GB": round(e.memory / 1e9, 1), "system": e.system, "Python": e.python,
        **{f"GPU {i}": f"{g.name}, sm_{g.sm}, {g.memory / 1e9:.0f} GB"
           for i, g in enumerate(e.gpus)},
        "GPU driver": e.gpu_driver, "CUDA": e.cuda, **dict(sorted(e.versions.items())),
        **{f"setting {name}": value for name, value in report.settings.items()},
        **{f"bundle {b.label}": "; ".join([b.precision, b.source, *_short(b.digest)])
           for b in report.bundles},
    }  # fmt: skip
    rows = tuple((text(k), text(v)) for k, v in known.items() if v is not None)
    return Table("Machine, versions, settings", ("", "value"), rows, folded=True)


def _short(digest: str | None) -> list[str]:
    return [digest[:12]] if digest else []


def _command(report: Report) -> str | None:
    """The command line as a shell takes it, if it is known."""
    return shlex.join(report.command) if report.command else None


def _machine(report: Report) -> str:
    """The processor, cores and GPUs in words."""
    e = report.environment
    return ", ".join([e.cpu, f"{e.cores} cores", *(gpu.name for gpu in e.gpus)])


def _day(report: Report) -> str | None:
    """The day of the measurement, if it is known."""
    return report.date and report.date.partition("T")[0]
