"""The sections and plots of latency results."""

from collections.abc import Sequence
from typing import Final

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.charts import MILLISECONDS, Curve, Strip
from lorair.benchmarks.report.content import Plot, Section, Source, file_section
from lorair.benchmarks.schema.latency import Configuration, LatencyReport, Summary
from lorair.benchmarks.schema.results_file import Report
from lorair.benchmarks.tables.latency import by_size, comparison, labels, side_by_side, stages
from lorair.benchmarks.timing.latency import CPU, TOTAL
from lorair.runtime.errors import OptionError

Named = Sequence[tuple[str, Configuration]]
_MEDIANS: Final = ", medians of the stages"


def check_baseline(sources: Sequence[Source[Report]], baseline: str | None) -> None:
    """Raise OptionError if no latency result has a configuration of that name."""
    names = {
        name
        for source in sources
        if isinstance(source.report, LatencyReport)
        for name in labels(source.report).values()
    }
    if baseline is not None and baseline not in names:
        raise OptionError(
            "--baseline",
            wanted=f"one of {', '.join(sorted(names))}" if names else "a latency result",
            found=baseline,
            hint="the slowest of each size is the baseline without the option",
        )


def section(source: Source[LatencyReport], baseline: str | None) -> Section:
    """Return everything of a latency result."""
    report = source.report
    names, sizes = labels(report), by_size(report)
    drawn = [plot for found in sizes.values() for plot in _size(source.anchor, found, names)]
    timed = [(names[id(c)], c) for c in report.configurations if TOTAL in c.summary]
    if len({c.size for _, c in timed}) > 1:
        drawn += _curves(source.anchor, timed)
    notes = [f"{names[id(c)]}: {note}" for c in report.configurations for note in c.notes]
    ordered = [c for found in sizes.values() for c in found]
    tables = [comparison(report, baseline), stages(ordered, names)] if sizes else []
    caption = "medians in milliseconds"
    summary = [side_by_side(caption, found, names, baseline) for found in sizes.values()]
    return file_section(
        source, _remarks(report), notes, tables=tables, plots=drawn, summary=summary
    )


def _remarks(report: LatencyReport) -> list[str]:
    settings, found = report.settings, []
    if report.configurations:
        rounds = max(c.rounds for c in report.configurations)
        found.append(f"{rounds} rounds" if rounds != 1 else "1 round")
    if threads := settings.get("threads"):
        found.append(f"{threads} threads")
    if settings.get("reuse_route"):
        found.append("the route is reused: the router is not in the totals")
    return found + [state.name for state in report.gpu_states[:1]]


def _size(anchor: str, found: Sequence[Configuration], names: dict[int, str]) -> list[Plot]:
    """Plots of one size: every run, the stages, and cold starts if there are any."""
    size, drawn = found[0].size, []
    if timed := [c for c in found if TOTAL in c.summary]:
        runs = [_strip(names[id(c)], c) for c in timed]
        drawn = [
            charts.strips(f"{anchor}_{size}_runs", f"Every run, {size}", MILLISECONDS, runs,
                          ", file to file"),
            charts.stacked(f"{anchor}_{size}_stages", f"Where the time goes, {size}", MILLISECONDS,
                           {names[id(c)]: _medians(c.summary) for c in timed}, _MEDIANS),
        ]  # fmt: skip
    if cold := {names[id(c)]: _medians(c.cold_summary) for c in found if TOTAL in c.cold_summary}:
        title = f"The first picture of a process, {size}"
        drawn.append(charts.stacked(f"{anchor}_{size}_cold", title, MILLISECONDS, cold, _MEDIANS))
    return drawn


def _strip(name: str, c: Configuration) -> Strip:
    s = c.summary[TOTAL]
    values = c.samples[TOTAL]
    return Strip(name, values, s.p50, s.interval.low, s.interval.high, c.warmup, s.outliers)


def _medians(summary: dict[str, Summary]) -> dict[str, float]:
    """Seconds of the stages that add up to the total."""
    return {stage: s.p50 for stage, s in summary.items() if stage not in (TOTAL, CPU)}


def together(sources: Sequence[Source[LatencyReport]]) -> list[Plot]:
    """Plot curves over more sizes than any file has by itself, of files that are alike."""
    groups: dict[object, list[LatencyReport]] = {}
    for source in sources:
        groups.setdefault(_conditions(source.report), []).append(source.report)
    drawn: list[Plot] = []
    for reports in groups.values():
        most = max(len({c.size for c in report.configurations}) for report in reports)
        found = _most_rounds(reports)
        if len({c.size for _, c in found}) > most:
            name = f"latency_together-{len(drawn) // 2 + 1}"
            drawn += _curves(name, found, ", files together")
    return drawn


def _conditions(report: LatencyReport) -> object:
    """What has to be equal for two files to be drawn as one."""
    e, settings = report.environment, report.settings
    bundles = frozenset((b.label, b.precision, b.source, b.digest) for b in report.bundles)
    return e.cpu, e.cores, settings.get("threads"), settings.get("reuse_route"), bundles


def _most_rounds(reports: Sequence[LatencyReport]) -> Named:
    """Of a configuration that several files have, the one with most rounds."""
    best: dict[tuple[str, str], Configuration] = {}
    for report in reports:
        names = labels(report)
        for c in report.configurations:
            key = names[id(c)], c.size
            if TOTAL in c.summary and (key not in best or c.rounds > best[key].rounds):
                best[key] = c
    return [(name, c) for (name, _), c in best.items()]


def _curves(name: str, found: Named, where: str = "") -> list[Plot]:
    """Time and memory by size, a curve for each name. where: for titles."""
    names = dict.fromkeys(n for n, _ in found)
    timed, held = ([_curve(n, found, memory) for n in names] for memory in (False, True))
    known = [curve for curve in held if curve.y]
    return [
        charts.lines(f"{name}_{what}-by-size", f"{title} by size{where}", "megapixels", unit,
                     curves, (True, is_log))
        for what, title, unit, curves, is_log in (
            ("time", "Time", charts.SECONDS, timed, True),
            ("memory", "Peak memory", charts.GIGABYTES, known, False),
        )
        if curves
    ]  # fmt: skip


def _curve(name: str, found: Named, memory: bool) -> Curve:
    some = sorted((c for n, c in found if n == name), key=lambda c: c.height * c.width)
    some = [c for c in some if not memory or c.memory.host]
    x, names = [c.height * c.width / 1e6 for c in some], [c.size for c in some]
    if memory:
        return Curve(name, x, [c.memory.host or 0 for c in some], names=names)
    totals = [c.summary[TOTAL] for c in some]
    low, high = [s.interval.low for s in totals], [s.interval.high for s in totals]
    return Curve(name, x, [s.p50 for s in totals], low, high, names)
