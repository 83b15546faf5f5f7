"""The beginning of the section of every result file, and the overview of the files."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from lorair.benchmarks.report.content import Plot, Section, Slider, Source
from lorair.benchmarks.schema.results_file import Report
from lorair.benchmarks.tables.cells import text
from lorair.runtime.system.table import Table

INCOMPLETE = "incomplete"


def file_section(
    source: Source,
    remarks: Sequence[str] = (),
    findings: Sequence[str] = (),
    tables: Sequence[Table] = (),
    plots: Sequence[Plot] = (),
    sliders: Sequence[Slider] = (),
    parts: Sequence[Section] = (),
    summary: Sequence[Table] = (),
) -> Section:
    """Return a file's section: what was measured, when, by which command, and what was found.

    remarks: of the measurement, for one line. findings: sentences, each a paragraph. summary:
    tables for Markdown; the file's label is put in front of their captions.
    """
    report = source.report
    said = [_bundles(report), *remarks, machine(report), day(report) or "date not known"]
    lines = ["; ".join(part for part in said if part) + ".", *findings, *report.notes]
    if not report.complete:
        lines.insert(0, "This run was interrupted or failed: it lacks some of what was asked for.")
    return Section(
        source.anchor,
        source.label,
        badges=() if report.complete else (INCOMPLETE,),
        remarks=tuple(lines),
        code=command(report),
        tables=tuple(tables),
        plots=tuple(plots),
        sliders=tuple(sliders),
        parts=tuple(parts),
        summary=tuple(replace(t, caption=f"{source.label}: {t.caption}") for t in summary),
    )


def command(report: Report) -> str | None:
    """Return the command line as a shell takes it; None if it is not known."""
    return shlex.join(report.command) if report.command else None


def machine(report: Report) -> str:
    """Return the processor, cores and GPUs in words."""
    e = report.environment
    gpus = "".join(f", {gpu.name}" for gpu in e.gpus)
    return f"{e.cpu}, {e.cores} cores{gpus}"


def day(report: Report) -> str | None:
    """Return the day of the measurement."""
    return report.date and report.date.partition("T")[0]


def overview(sources: Sequence[Source]) -> Table:
    """Return one line for each file, which leads to its section."""
    rows = tuple(
        (text(s.label), text(s.report.kind), text("yes" if s.report.complete else INCOMPLETE),
         text(day(s.report)), text(machine(s.report)))
        for s in sources
    )  # fmt: skip
    return Table("What this page is made of", ("file", "kind", "complete", "date", "machine"), rows)


def environments(sources: Sequence[Source]) -> Section:
    """Return the machine, versions and settings of every file."""
    parts = tuple(
        Section(f"{s.anchor}_environment", s.label, tables=(_environment(s.report),))
        for s in sources
    )
    return Section("environment", "Environment", parts=parts)


def _environment(report: Report) -> Table:
    e = report.environment
    known: dict[str, object] = {
        "command": command(report),
        "date": report.date,
        "processor": e.cpu,
        "cores": e.cores,
        "affinity": e.affinity and ", ".join(map(str, e.affinity)),
        "CPU quota": e.cpu_quota,
        "memory, GB": round(e.memory / 1e9, 1),
        "system": e.system,
        "Python": e.python,
        **{f"GPU {i}": f"{g.name}, sm_{g.sm}, {g.memory / 1e9:.0f} GB"
           for i, g in enumerate(e.gpus)},
        "GPU driver": e.gpu_driver,
        "CUDA": e.cuda,
        **dict(sorted(e.versions.items())),
        **{f"setting {name}": value for name, value in report.settings.items()},
        **{f"bundle {b.label}": _bundle(b.precision, b.source, b.digest) for b in report.bundles},
    }  # fmt: skip
    rows = tuple((text(k), text(v)) for k, v in known.items() if v is not None)
    return Table("Machine, versions, settings", ("", "value"), rows, folded=True)


def _bundle(precision: str, source: str, digest: str | None) -> str:
    return f"{precision}; {source}" + (f"; {digest[:12]}" if digest else "")


def _bundles(report: Report) -> str:
    return ", ".join(f"{b.label} ({b.precision})" for b in report.bundles)
