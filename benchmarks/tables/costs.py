"""The tables of `lorair-bench throughput`, `commands`, `experts` and `kernels`."""

import shlex
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from lorair.benchmarks.schema.costs import (
    CommandsReport,
    ExpertRow,
    ExpertsReport,
    KernelSize,
    KernelsReport,
    LayerRow,
    ThroughputReport,
    ThroughputRun,
)
from lorair.benchmarks.schema.statistics import median_interval
from lorair.benchmarks.tables.cells import (
    count,
    gigabytes,
    interval_ms,
    megabytes,
    milliseconds,
    number,
    rounded,
    span,
    text,
)
from lorair.runtime.system.table import Cell, Table

NOT_TIMED: Final = (
    "Nothing was timed: floors are computed from what each operator must move and multiply, "
    "and from what the devices can do."
)


def throughput(*reports: ThroughputReport) -> Table:
    """Return one line for each number of pictures at once, of each report."""
    columns = ("", ">pictures a second", ">95 % interval", ">megapixels a second",
               ">times as fast", ">processor seconds a round", "bottleneck")  # fmt: skip
    rows = []
    for report in reports:
        before = f"{report.backend}, " if len(reports) > 1 else ""
        timed = [run for run in report.runs if run.seconds]
        rows += [(text(before + at_once(r)), *_throughput(report, r, timed[0])) for r in timed]
    return Table("Medians of the rounds", columns, tuple(rows))


def _throughput(report: ThroughputReport, run: ThroughputRun, first: ThroughputRun) -> list[Cell]:
    seconds = statistics.median(run.seconds)
    busiest = run.stages[run.bottleneck] / sum(run.stages.values())
    return [
        number(report.pictures / seconds), span(*median_interval(rates(report, run))),
        number(report.megapixels / seconds), number(statistics.median(first.seconds) / seconds),
        number(statistics.median(run.cpu_seconds) if run.cpu_seconds else None),
        text(f"{run.bottleneck} ({busiest:.0%})"),
    ]  # fmt: skip


def rates(report: ThroughputReport, run: ThroughputRun) -> list[float]:
    """Return the pictures a second of each round."""
    return [report.pictures / seconds for seconds in run.seconds if seconds > 0]


def at_once(run: ThroughputRun) -> str:
    """Return how many pictures a run had in work, in words."""
    return f"{run.jobs} at once" if run.jobs > 1 else "one at a time"


def commands(report: CommandsReport, labels: Sequence[str] = ()) -> Table:
    """Return one line for each command. labels: what to call them instead of their words."""
    names = labels or [shlex.join(run.command) for run in report.runs]
    rows = tuple(
        (
            text(name), number(run.p50),
            span(min(run.seconds), max(run.seconds)) if len(run.seconds) > 1 else text(None),
            number(statistics.median(run.cpu_seconds)), gigabytes(run.peak_memory),
        )
        for name, run in zip(names, report.runs, strict=True)
    )  # fmt: skip
    columns = ("command", ">seconds", ">range", ">processor seconds", ">peak memory, GB")
    return Table("Medians of the runs", columns, rows)


def commands_shown(report: CommandsReport) -> Iterator[Table]:
    """Yield what the terminal shows: the commands, and the sizes of what they made."""
    yield commands(report)
    if report.sizes:
        rows = tuple((text(path), megabytes(size)) for path, size in report.sizes.items())
        yield Table("Sizes afterwards", ("path", ">MB"), rows)


def experts(rows: Sequence[ExpertRow]) -> Table:
    """Return one line for each form of each mixture."""
    columns = (">experts", ">top k", "form", "size", ">p50, ms", ">95 % interval",
               ">peak memory, GB", ">bundle, MB", ">switching, ms")  # fmt: skip
    body = tuple(
        (count(r.experts), count(r.top_k), text(r.form), text(r.size), milliseconds(r.p50),
         interval_ms(r.interval), gigabytes(r.peak_memory), megabytes(r.bundle_bytes),
         milliseconds(r.switch_seconds))
        for r in rows
        if r.p50 is not None
    )  # fmt: skip
    return Table("Every form of every mixture", columns, body)


def experts_shown(report: ExpertsReport) -> Iterator[Table | str]:
    """Yield what the terminal shows."""
    network = f"{report.preset} network, rank {report.rows[0].rank}"
    rounds = f"{report.settings['rounds']} rounds"
    yield "; ".join((report.environment.cpu, report.description, network, rounds))
    yield experts(report.rows)
    yield from report.crossover


def kernels_shown(report: KernelsReport) -> Iterator[Table | str]:
    """Yield what the terminal shows."""
    for entry in report.sizes:
        yield layers(entry)
        yield operators(entry)
        yield from network(entry)
    yield from compiled(report)
    if not report.timed:
        yield NOT_TIMED
        if not report.compiled:
            yield "Nothing was compiled either: triton is not installed."


def network(entry: KernelSize) -> Iterator[str]:
    """Yield the times of the whole network, if it was timed."""
    if entry.network_ms:
        parts = ", ".join(f"{name} {rounded(ms)} ms" for name, ms in entry.network_ms.items())
        yield f"{entry.device.name}, the network as one CUDA graph: {parts}"


def times(entry: KernelSize) -> dict[str, str]:
    """Return names and fields of the times that all layers have."""
    return {
        name: f"{name}_ms" for name in ("floor", "fused", "unfused", "merged")
        if all(getattr(layer, f"{name}_ms") is not None for layer in entry.layers)
    }  # fmt: skip


def by_operator(entry: KernelSize) -> dict[str, KernelSize]:
    """Return the layers of each operator."""
    groups = {
        name: tuple(layer for layer in entry.layers if layer.operator == name)
        for name in dict.fromkeys(layer.operator for layer in entry.layers)
    }
    return {name: entry.model_copy(update={"layers": some}) for name, some in groups.items()}


def operators(entry: KernelSize) -> Table:
    """Return one line for each operator, over the whole network."""
    found = times(entry)
    rows = tuple(
        (
            text(name), count(sum(layer.count for layer in some.layers)),
            megabytes(some.total("bytes")), number(some.total("operations"), 1e-9),
            *(number(some.total(field)) for field in found.values()),
        )
        for name, some in [*by_operator(entry).items(), ("together", entry)]
    )  # fmt: skip
    columns = ("operator", ">count", ">MB", ">GFLOP", *(f">{n}, ms" for n in found))
    return Table(f"{entry.name}: over the whole network", columns, rows)


def layers(entry: KernelSize) -> Table:
    """Return one line for each place of the network."""
    found = times(entry)
    columns = ("operator", ">count", ">channels", ">plane", ">MB", ">GFLOP", "bound by",
               *(f">{name}, µs" for name in found))  # fmt: skip
    rows = tuple(
        (text(x.operator), count(x.count), channels(x), text(f"{x.height}x{x.width}"),
         megabytes(x.bytes), number(x.operations, 1e-9), text(x.bound_by),
         *(number(getattr(x, field), 1e3) for field in found.values()))
        for x in entry.layers
    )  # fmt: skip
    return Table(f"{entry.name}: every operator, once", columns, rows, folded=True)


def channels(layer: LayerRow) -> Cell:
    """Return the channels of a layer, in and out."""
    return text(f"{layer.inputs} to {layer.outputs}")


def compiled(report: KernelsReport) -> Iterator[Table]:
    """Yield what each compiled kernel takes of a multiprocessor."""
    if not report.compiled:
        return
    names = list(dict.fromkeys(name for row in report.compiled for name in row))
    rows = tuple(tuple(text(row.get(name)) for name in names) for row in report.compiled)
    columns = tuple(n if n == "name" else f">{n}" for n in names)
    caption = "What each compiled kernel takes; shared memory in bytes"
    yield Table(caption, columns, rows, folded=True)
