"""The sections of throughput, experts, commands and tiles results."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from lorair.benchmarks.report import plots
from lorair.benchmarks.report.charts import Curve, Strip
from lorair.benchmarks.report.content import Plot, Section, Source
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.report.plots import Unit
from lorair.benchmarks.schema.costs import (
    CommandsReport,
    ExpertRow,
    ExpertsReport,
    ThroughputReport,
)
from lorair.benchmarks.schema.quality import TilesReport
from lorair.benchmarks.schema.statistics import median_interval
from lorair.benchmarks.tables import costs
from lorair.benchmarks.tables.quality import tiles as tiles_table

_RATE: Final = Unit("pictures a second")


def throughput(source: Source) -> Section:
    """Return everything of a throughput result."""
    report = source.report
    assert isinstance(report, ThroughputReport)
    runs, anchor = [run for run in report.runs if run.seconds], source.anchor
    rates = [Strip.of(costs.at_once(run), costs.rates(report, run)) for run in runs]
    parts = {costs.at_once(run): run.stages for run in runs}
    drawn = (
        plots.strips(f"{anchor}_rates", "Pictures a second, every round", _RATE, rates),
        plots.stacked(
            f"{anchor}_parts", "Time of the pictures by part", plots.SECONDS, parts,
            " of all pictures in a round",
        ),
    )  # fmt: skip
    remark = f"{report.backend}, {report.pictures} pictures, {report.megapixels:.3g} megapixels"
    table = costs.throughput(report)
    return file_section(source, [remark], tables=[table], plots=drawn if runs else (),
                        summary=[table])  # fmt: skip


def throughput_together(sources: Sequence[Source]) -> tuple[Plot, ...]:
    """Plot all files that measured as many pictures and megapixels as the first one."""
    reports = [(s, s.report) for s in sources if isinstance(s.report, ThroughputReport)]
    first = reports[0][1]
    same = [
        (s, r) for s, r in reports
        if (r.pictures, r.megapixels) == (first.pictures, first.megapixels)
        and any(run.seconds for run in r.runs)
    ]  # fmt: skip
    if len(same) < 2:
        return ()
    names = [r.backend for _, r in same]
    curves = [_rates(r.backend if names.count(r.backend) == 1 else s.label, r) for s, r in same]
    title = "Pictures a second, all files"
    name = "throughput_together"
    return (plots.lines(name, title, "pictures at once", _RATE, curves, (False, False)),)


def _rates(name: str, report: ThroughputReport) -> Curve:
    found = {run.jobs: rates for run in report.runs if (rates := costs.rates(report, run))}
    intervals = [median_interval(rates) for rates in found.values()]
    medians = [float(np.median(rates)) for rates in found.values()]
    low, high = zip(*intervals, strict=True)
    return Curve(name, list(found), medians, low, high)


def commands(source: Source) -> Section:
    """Return everything of a result of whole commands."""
    report = source.report
    assert isinstance(report, CommandsReport)
    rows = [
        Strip.of(f"command {i}", run.seconds)
        for i, run in enumerate(report.runs, 1)
        if len(run.seconds) > 1
    ]
    name, title = f"{source.anchor}_seconds", "Seconds of every run"
    drawn = [plots.strips(name, title, plots.SECONDS, rows)] if rows else []
    tables = list(costs.commands_shown(report))
    remarks = ["From start to exit; commands took turns."]
    return file_section(source, remarks, tables=tables, plots=drawn, summary=tables[:1])


def tiles(source: Source) -> Section:
    """Return everything of a result about tiles."""
    report = source.report
    assert isinstance(report, TilesReport)
    table = tiles_table(report)
    rows = [
        Strip.of(f"tile {side}", [row.psnr_db for row in report.rows if row.tile == side])
        for side in sorted({row.tile for row in report.rows})
    ]
    name, title = f"{source.anchor}_psnr", "PSNR by the side of the tiles"
    drawn = [plots.strips(name, title, Unit("dB"), rows, ", higher is closer")]
    return file_section(source, [report.backend], tables=[table], plots=drawn, summary=[table])


def experts(source: Source) -> Section:
    """Return everything of a result about mixtures of experts."""
    report = source.report
    assert isinstance(report, ExpertsReport)
    drawn = [
        plot
        for size in dict.fromkeys(row.size for row in report.rows)
        for plot in _experts(f"{source.anchor}_{size}", size, report.rows)
    ]
    table = costs.experts(report.rows)
    notes = dict.fromkeys(f"{row.form}: {row.note}" for row in report.rows if row.note)
    return file_section(
        source,
        [report.description],
        [*notes, *report.crossover],
        tables=[table],
        plots=drawn,
        summary=[table],
    )


def _experts(anchor: str, size: str, rows: Sequence[ExpertRow]) -> list[Plot]:
    """Time, memory and bundle, each if there is anything of it."""
    drawn: dict[str, tuple[str, Unit, Callable[[ExpertRow], float | None]]] = {
        "time": ("Time", plots.MILLISECONDS, lambda r: r.p50),
        "memory": ("Peak memory", plots.GIGABYTES, lambda r: r.peak_memory),
        "bundle": ("Bundle", plots.MEGABYTES, lambda r: r.bundle_bytes),
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
                plots.lines(f"{anchor}_{name}", heading, "experts", unit, curves, (True, False))
            )
    return out
