"""Whole commands: time, processor time, peak memory, and the size of what they made."""

import shlex
from typing import Final

import numpy as np

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import (
    Cell,
    Plot,
    Section,
    Source,
    Table,
    gigabytes,
    number,
    rounded,
    text,
)
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.schema import CommandRun, CommandsReport
from lorair.benchmarks.schema.statistics import median_interval

TITLE: Final = "Commands"


def section(source: Source) -> Section:
    """Everything of one file."""
    report = source.report
    assert isinstance(report, CommandsReport)
    several = [run for run in report.runs if len(run.seconds) > 1]
    tables = [_runs(report.runs)]
    if report.sizes:
        tables.append(_sizes(report.sizes))
    summary = (Table(source.label, tables[0].columns, tables[0].rows),)
    plots = (_plot(source, several),) if several else ()
    remarks = ["From start to exit; commands took turns."]
    return file_section(source, remarks, tables=tuple(tables), plots=plots, summary=summary)


def _runs(runs: tuple[CommandRun, ...]) -> Table:
    columns = ("", "command", ">seconds", ">from", ">to", ">processor seconds", ">peak memory, GB")
    rows = tuple(
        (
            Cell(str(i), i), text(shlex.join(run.command)), number(run.p50),
            number(min(run.seconds)), number(max(run.seconds)),
            number(float(np.median(run.cpu_seconds))), gigabytes(run.peak_memory),
        )
        for i, run in enumerate(runs, 1)
    )  # fmt: skip
    return Table("Medians of the runs", columns, rows)


def _sizes(sizes: dict[str, int]) -> Table:
    rows = tuple((text(path), number(size, 1e-6)) for path, size in sizes.items())
    return Table("Sizes afterwards", ("", ">MB"), rows)


def _plot(source: Source, runs: list[CommandRun]) -> Plot:
    title = "Seconds of every run"
    strips, rows = [], []
    for i, run in enumerate(runs, 1):
        low, high = median_interval(run.seconds)
        strips.append(charts.Strip(f"command {i}", list(run.seconds), run.p50, low, high))
        rows += [
            (Cell(str(i), i), Cell(str(n), n), number(s)) for n, s in enumerate(run.seconds, 1)
        ]
    table = Table(title, (">command", ">run", ">seconds"), tuple(rows), folded=True)
    alt = "; ".join(f"{strip.name}: median {rounded(strip.median)}" for strip in strips)
    figure = charts.strips(title, "seconds", strips)
    return Plot(f"{source.anchor}_seconds", figure, f"{title}. {alt}.", table)
