"""Throughput results: pictures a second by how many at once, stages, the bottleneck."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import (
    Cell,
    Plot,
    Section,
    Source,
    Table,
    number,
    rounded,
    text,
)
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.schema import ThroughputReport, ThroughputRun
from lorair.benchmarks.schema.statistics import median_interval

TITLE: Final = "Throughput"


def section(source: Source) -> Section:
    """Everything of one file."""
    report = source.report
    assert isinstance(report, ThroughputReport)
    runs = [run for run in report.runs if run.seconds]
    plots = (_speed(source, report, runs), _stages(source, runs)) if runs else ()
    remarks = [f"{report.backend}, {report.pictures} pictures, {report.megapixels:.3g} megapixels"]
    table = _table(report)
    return file_section(
        source, remarks, tables=(table,), plots=plots, summary=(_readme(source, table),)
    )


def together(sources: Sequence[Source]) -> tuple[Plot, ...]:
    """One plot of all files that measured as many pictures and megapixels as the first."""
    reports = [(s, s.report) for s in sources if isinstance(s.report, ThroughputReport)]
    same = [
        (s, r) for s, r in reports
        if (r.pictures, r.megapixels) == (reports[0][1].pictures, reports[0][1].megapixels)
        and any(run.seconds for run in r.runs)
    ]  # fmt: skip
    if len(same) < 2:
        return ()
    names = [r.backend for _, r in same]
    series = [_series(r.backend if names.count(r.backend) == 1 else s.label, r) for s, r in same]
    title = "Pictures a second, all files"
    figure = charts.lines(title, "pictures at once", "pictures a second", series, (False, False))
    rows = tuple(
        (text(s.name), Cell(f"{x:.0f}", x), number(y))
        for s in series
        for x, y in zip(s.x, s.y, strict=True)
    )
    table = Table(title, ("", ">at once", ">pictures a second"), rows, folded=True)
    return (Plot("throughput_together", figure, _alt(title, series), table),)


def _rates(report: ThroughputReport, run: ThroughputRun) -> list[float]:
    """Pictures a second of each round."""
    return [report.pictures / seconds for seconds in run.seconds if seconds > 0]


def _series(name: str, report: ThroughputReport) -> charts.Series:
    runs = [run for run in report.runs if _rates(report, run)]
    intervals = [median_interval(_rates(report, run)) for run in runs]
    return charts.Series(
        name,
        [run.jobs for run in runs],
        [report.pictures / float(np.median(run.seconds)) for run in runs],
        [low for low, _ in intervals],
        [high for _, high in intervals],
    )


def _speed(source: Source, report: ThroughputReport, runs: Sequence[ThroughputRun]) -> Plot:
    rows = []
    for run in runs:
        rates = _rates(report, run)
        low, high = median_interval(rates)
        rows.append(charts.Strip(_at_once(run), rates, float(np.median(rates)), low, high))
    title = "Pictures a second, every round"
    body = tuple(
        (Cell(str(run.jobs), run.jobs), Cell(str(i + 1), i + 1), number(rate))
        for run in runs
        for i, rate in enumerate(_rates(report, run))
    )
    table = Table(title, (">at once", ">round", ">pictures a second"), body, folded=True)
    alt = "; ".join(f"{row.name}: median {rounded(row.median)}" for row in rows)
    figure = charts.strips(title, "pictures a second", rows)
    return Plot(f"{source.anchor}_rates", figure, f"{title}. {alt}.", table)


def _stages(source: Source, runs: Sequence[ThroughputRun]) -> Plot:
    rows = [(_at_once(run), run.stages) for run in runs]
    stages = list(dict.fromkeys(stage for run in runs for stage in run.stages))
    title = "Time of the pictures by part"
    table = Table(
        f"{title}, seconds in a round; they overlap",
        ("part", *(f">{_at_once(run)}" for run in runs)),
        tuple((text(s), *(number(run.stages.get(s)) for run in runs)) for s in stages),
        folded=True,
    )
    alt = "; ".join(f"{_at_once(run)}: most of it {run.bottleneck}" for run in runs)
    figure = charts.stacked(title, "seconds of all pictures in a round", rows)
    return Plot(f"{source.anchor}_parts", figure, f"{title}. {alt}.", table)


def _at_once(run: ThroughputRun) -> str:
    return f"{run.jobs} at once" if run.jobs > 1 else "one at a time"


def _table(report: ThroughputReport) -> Table:
    columns = ("", ">pictures a second", ">95 % interval", ">megapixels a second",
               ">times as fast", ">processor seconds a round", "bottleneck")  # fmt: skip
    timed = [run for run in report.runs if run.seconds]
    rows = []
    for run in timed:
        seconds = float(np.median(run.seconds))
        low, high = median_interval(_rates(report, run))
        rows.append((
            text(_at_once(run)), number(report.pictures / seconds),
            text(f"{rounded(low)} to {rounded(high)}"), number(report.megapixels / seconds),
            number(float(np.median(timed[0].seconds)) / seconds),
            number(float(np.median(run.cpu_seconds)) if run.cpu_seconds else None),
            text(run.bottleneck),
        ))  # fmt: skip
    return Table("Medians of the rounds", columns, tuple(rows))


def _readme(source: Source, table: Table) -> Table:
    return Table(f"{source.label}: medians of the rounds", table.columns, table.rows)


def _alt(title: str, series: Sequence[charts.Series]) -> str:
    parts = [
        f"{s.name} "
        + ", ".join(f"{rounded(y)} with {x:.0f}" for x, y in zip(s.x, s.y, strict=True))
        for s in series
    ]
    return f"{title}, by how many at once: {'; '.join(parts)}."
