"""The sections of throughput, experts, commands and tiles results."""

from collections.abc import Callable, Sequence
from typing import Final

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.charts import Curve, Strip, Unit
from lorair.benchmarks.report.content import Plot, Section, Source, file_section
from lorair.benchmarks.schema.costs import (
    CommandsReport,
    ExpertRow,
    ExpertsReport,
    ThroughputReport,
)
from lorair.benchmarks.schema.quality import TilesReport
from lorair.benchmarks.schema.statistics import Estimate
from lorair.benchmarks.tables import costs
from lorair.benchmarks.tables.quality import tiles as tiles_table

_RATE: Final = Unit("pictures a second")


def throughput(source: Source[ThroughputReport]) -> Section:
    """Return everything of a throughput result."""
    report = source.report
    runs, anchor = [run for run in report.runs if run.seconds], source.anchor
    rates = [Strip.of(costs.at_once(run), costs.rates(report, run)) for run in runs]
    parts = {costs.at_once(run): run.stages for run in runs}
    drawn = (
        charts.strips(f"{anchor}_rates", "Pictures a second, every round", _RATE, rates),
        charts.stacked(
            f"{anchor}_parts", "Time of the pictures by part", charts.SECONDS, parts,
            " of all pictures in a round",
        ),
    )  # fmt: skip
    remark = f"{report.backend}, {report.pictures} pictures, {report.megapixels:.3g} megapixels"
    table = costs.throughput(report)
    return file_section(source, [remark], tables=[table], plots=drawn if runs else (),
                        summary=[table])  # fmt: skip


def throughput_together(sources: Sequence[Source[ThroughputReport]]) -> list[Plot]:
    """Plot all files that measured as many pictures and megapixels as the first one."""
    first = sources[0].report
    same = [
        s for s in sources
        if (s.report.pictures, s.report.megapixels) == (first.pictures, first.megapixels)
        and any(run.seconds for run in s.report.runs)
    ]  # fmt: skip
    if len(same) < 2:
        return []
    names = [s.report.backend for s in same]
    curves = [
        _rates(name if names.count(name) == 1 else s.label, s.report)
        for s, name in zip(same, names, strict=True)
    ]
    name, title = "throughput_together", "Pictures a second, all files"
    return [charts.lines(name, title, "pictures at once", _RATE, curves, (False, False))]


def _rates(name: str, report: ThroughputReport) -> Curve:
    found = {run.jobs: rates for run in report.runs if (rates := costs.rates(report, run))}
    return Curve(name, list(found), *zip(*map(Estimate.of, found.values()), strict=True))


def commands(source: Source[CommandsReport]) -> Section:
    """Return everything of a result of whole commands."""
    report = source.report
    rows = [
        Strip.of(f"command {i}", run.seconds)
        for i, run in enumerate(report.runs, 1)
        if len(run.seconds) > 1
    ]
    name, title = f"{source.anchor}_seconds", "Seconds of every run"
    drawn = [charts.strips(name, title, charts.SECONDS, rows)] if rows else []
    tables = list(costs.commands_shown(report))
    remarks = ["From start to exit; commands took turns."]
    return file_section(source, remarks, tables=tables, plots=drawn, summary=tables[:1])


def tiles(source: Source[TilesReport]) -> Section:
    """Return everything of a result about tiles."""
    report = source.report
    table = tiles_table(report)
    rows = [
        Strip.of(f"tile {side}", [row.psnr_db for row in report.rows if row.tile == side])
        for side in sorted({row.tile for row in report.rows})
    ]
    name, title = f"{source.anchor}_psnr", "PSNR by the side of the tiles"
    drawn = [charts.strips(name, title, Unit("dB"), rows, ", higher is closer")]
    return file_section(source, [report.backend], tables=[table], plots=drawn, summary=[table])


def experts(source: Source[ExpertsReport]) -> Section:
    """Return everything of a result about mixtures of experts."""
    report = source.report
    drawn = [
        plot
        for size in dict.fromkeys(row.size for row in report.rows)
        for plot in _experts(f"{source.anchor}_{size}", size, report.rows)
    ]
    table = costs.experts(report.rows)
    notes = dict.fromkeys(f"{row.form}: {row.note}" for row in report.rows if row.note)
    return file_section(
        source, [report.description], [*notes, *report.crossover], tables=[table], plots=drawn,
        summary=[table],
    )  # fmt: skip


def _experts(anchor: str, size: str, rows: Sequence[ExpertRow]) -> list[Plot]:
    """Time, memory and bundle, each if there is anything of it."""
    drawn: dict[str, tuple[str, Unit, Callable[[ExpertRow], float | None]]] = {
        "time": ("Time", charts.MILLISECONDS, lambda r: r.p50),
        "memory": ("Peak memory", charts.GIGABYTES, lambda r: r.peak_memory),
        "bundle": ("Bundle", charts.MEGABYTES, lambda r: r.bundle_bytes),
    }
    several = len({row.top_k for row in rows}) > 1
    out = []
    for name, (title, unit, pick) in drawn.items():
        points: dict[str, dict[int, float]] = {}
        for row in rows:
            if row.size == size and (value := pick(row)) is not None:
                form = f"{row.form}, top {row.top_k}" if several else row.form
                points.setdefault(form, {})[row.experts] = value
        curves = [Curve(form, sorted(p), [p[x] for x in sorted(p)]) for form, p in points.items()]
        if curves:
            heading = f"{title} by number of experts, {size}"
            out.append(
                charts.lines(f"{anchor}_{name}", heading, "experts", unit, curves, (True, False))
            )
    return out
