"""Latency results: tables, distributions, stages, curves over the sizes."""

from collections.abc import Sequence
from typing import Final

from lorair.benchmarks.report.content import (
    Cell,
    Plot,
    Section,
    Source,
    Table,
    gigabytes,
    milliseconds,
    number,
    rounded,
    text,
)
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.report.latency_plots import size_plots
from lorair.benchmarks.report.sizes import curves
from lorair.benchmarks.schema import Configuration, LatencyReport, Summary
from lorair.runtime.errors import OptionError

TITLE: Final = "Latency"
_README_ROWS: Final = (("router", "router"), ("restorer", "restorer"), ("file to file", "total"))


def check_baseline(sources: Sequence[Source], baseline: str | None) -> None:
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


def section(source: Source, baseline: str | None) -> Section:
    """Everything of one file."""
    report = source.report
    assert isinstance(report, LatencyReport)
    names = labels(report)
    by_size = _by_size(report)
    plots = [plot for found in by_size.values() for plot in size_plots(source.anchor, found, names)]
    timed = [(names[id(c)], c) for c in report.configurations if "total" in c.summary]
    if len({c.size for _, c in timed}) > 1:
        plots += curves(source.anchor, timed)
    notes = [f"{names[id(c)]}: {note}" for c in report.configurations for note in c.notes]
    tables = (_comparison(by_size, names, baseline), _stages(by_size, names))
    summary = [_readme(source, found, names, baseline) for found in by_size.values()]
    return file_section(
        source, _remarks(report), notes, tables if by_size else (), tuple(plots),
        summary=tuple(summary),
    )  # fmt: skip


def _by_size(report: LatencyReport) -> dict[str, list[Configuration]]:
    sizes = dict.fromkeys(c.size for c in report.configurations)
    return {size: [c for c in report.configurations if c.size == size] for size in sizes}


def together(sources: Sequence[Source]) -> tuple[Plot, ...]:
    """Curves over more sizes than any file has by itself, of files of like measurements."""
    groups: dict[object, list[LatencyReport]] = {}
    for source in sources:
        if isinstance(source.report, LatencyReport):
            groups.setdefault(_conditions(source.report), []).append(source.report)
    plots: list[Plot] = []
    for reports in groups.values():
        most = max(len({c.size for c in report.configurations}) for report in reports)
        found = _most_rounds(reports)
        if len({c.size for _, c in found}) > most:
            name = f"latency_together-{len(plots) // 2 + 1}"
            plots += curves(name, found, ", files together")
    return tuple(plots)


def _conditions(report: LatencyReport) -> object:
    """What has to be equal for two files to be drawn as one."""
    e, settings = report.environment, report.settings
    bundles = frozenset((b.label, b.precision, b.source, b.digest) for b in report.bundles)
    return e.cpu, e.cores, settings.get("threads"), settings.get("reuse_route"), bundles


def _most_rounds(reports: Sequence[LatencyReport]) -> list[tuple[str, Configuration]]:
    """Of a configuration that several files have, the one with most rounds."""
    best: dict[tuple[str, str], Configuration] = {}
    for report in reports:
        names = labels(report)
        for c in report.configurations:
            key = names[id(c)], c.size
            if "total" in c.summary and (key not in best or c.rounds > best[key].rounds):
                best[key] = c
    return [(name, c) for (name, _), c in best.items()]


def labels(report: LatencyReport) -> dict[int, str]:
    """What each configuration (by its id) is called: the backend, and what else differs."""
    several = len(report.bundles) > 1
    names = {}
    for c in report.configurations:
        batch = getattr(c, "batch", 1)
        parts = [c.bundle] * several + [c.backend] + [f"batch {batch}"] * (batch > 1)
        names[id(c)] = ", ".join(parts)
    return names


def times_as_fast(
    configurations: Sequence[Configuration], names: dict[int, str], baseline: str | None
) -> dict[int, float]:
    """Of the totals' medians a picture, by the configuration's id: the baseline's over its own."""
    totals = {
        id(c): c.summary["total"].p50 / c.batch for c in configurations if "total" in c.summary
    }
    named = [value for key, value in totals.items() if names[key] == baseline]
    if not totals or (baseline is not None and not named):
        return {}
    slowest = named[0] if named else max(totals.values())
    return {key: slowest / value for key, value in totals.items() if value > 0}


def _remarks(report: LatencyReport) -> list[str]:
    settings, found = report.settings, []
    if report.configurations:
        rounds = max(c.rounds for c in report.configurations)
        found.append(f"{rounds} rounds" if rounds != 1 else "1 round")
    if threads := settings.get("threads"):
        found.append(f"{threads} threads")
    if settings.get("reuse_route"):
        found.append("the route is reused: the router is not in the totals")
    if report.gpu_states:
        found += [f"{state.name}" for state in report.gpu_states[:1]]
    return found


def _comparison(
    by_size: dict[str, list[Configuration]], names: dict[int, str], baseline: str | None
) -> Table:
    """One line a configuration: the whole way, file to file."""
    every = [c for found in by_size.values() for c in found]
    quality = any(c.psnr_db is not None for c in every)
    device = any(c.memory.device is not None for c in every)
    rows = []
    for size, found in by_size.items():
        ratios = times_as_fast(found, names, baseline)
        for c in found:
            total = c.summary.get("total")
            row = [text(names[id(c)]), text(size), *_times(total), number(ratios.get(id(c))),
                   gigabytes(c.memory.host), _outliers(total), _warmup(c)]  # fmt: skip
            row += [gigabytes(c.memory.device)] * device + [number(c.psnr_db)] * quality
            rows.append(tuple(row))
    columns = ("", "size", ">p50", ">95 % interval", ">p90", ">p99", ">times as fast",
               ">peak GB", ">outliers", ">warm-up",
               *([">GPU, GB"] * device), *([">PSNR, dB"] * quality))  # fmt: skip
    against = baseline or "the slowest of the size"
    caption = f"File to file, milliseconds; times as fast as {against}"
    return Table(caption, columns, tuple(rows))


def _stages(by_size: dict[str, list[Configuration]], names: dict[int, str]) -> Table:
    """Every stage of every configuration."""
    rows = [
        (text(names[id(c)]), text(size), text(stage), *_times(s), milliseconds(s.min),
         _outliers(s))
        for size, found in by_size.items()
        for c in found
        for stage, s in c.summary.items()
    ]  # fmt: skip
    columns = ("", "size", "stage", ">p50", ">95 % interval", ">p90", ">p99", ">min",
               ">outliers")  # fmt: skip
    return Table("Every stage, milliseconds", columns, tuple(rows), folded=True)


def _times(summary: Summary | None) -> tuple[Cell, ...]:
    if summary is None:
        return (text(None),) * 4
    low, high = summary.interval.low, summary.interval.high
    between = Cell(f"{rounded(low * 1e3)} to {rounded(high * 1e3)}")
    return milliseconds(summary.p50), between, milliseconds(summary.p90), milliseconds(summary.p99)


def _outliers(summary: Summary | None) -> Cell:
    return text(None) if summary is None else Cell(f"{len(summary.outliers)} of {summary.count}")


def _warmup(c: Configuration) -> Cell:
    return Cell(f"{c.warmup} of {c.rounds}")


def _readme(
    source: Source,
    found: Sequence[Configuration],
    names: dict[int, str],
    baseline: str | None,
) -> Table:
    """One size, a column a configuration, as in docs/benchmarks.md."""
    ratios = times_as_fast(found, names, baseline)
    rows = [
        (text(label), *(milliseconds(_median(c, stage)) for c in found))
        for label, stage in _README_ROWS
    ]
    rows.append((text("times as fast"), *(number(ratios.get(id(c))) for c in found)))
    rows.append((text("peak memory, GB"), *(gigabytes(c.memory.host) for c in found)))
    caption = f"{source.label}: medians in milliseconds"
    columns = (found[0].size, *(f">{names[id(c)]}" for c in found))
    return Table(caption, columns, tuple(rows))


def _median(c: Configuration, stage: str) -> float | None:
    return c.summary[stage].p50 if stage in c.summary else None
