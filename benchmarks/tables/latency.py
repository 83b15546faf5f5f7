"""The tables of `lorair-bench latency`."""

from collections.abc import Iterator, Sequence
from typing import Final

from lorair.benchmarks.schema.latency import Configuration, LatencyReport, Summary
from lorair.benchmarks.tables.cells import gigabytes, interval_ms, milliseconds, number, text
from lorair.benchmarks.timing.latency import TOTAL, whole
from lorair.runtime.system.table import Cell, Table

_SHOWN: Final = {"router": "router", "restorer": "restorer", TOTAL: "file to file"}
_TIMES: Final = (">p50", ">95 % interval", ">p90", ">p99")


def shown(report: LatencyReport) -> Iterator[Table | str]:
    """Yield what the terminal shows: the machine, then each configuration."""
    precisions = ", ".join(dict.fromkeys(b.precision for b in report.bundles))
    yield (
        f"{report.environment.cpu}, {report.environment.cores} cores; {precisions}; "
        f"{report.settings['iterations']} rounds; milliseconds"
    )
    for c in report.configurations:
        bundle = f"{c.bundle}, " if len(report.bundles) > 1 else ""
        yield f"\n{c.shape}  {bundle}{c.description}"
        memory = f"; peak memory {c.memory.host / 1e9:.2f} GB" if c.memory.host else ""
        device = f", on the GPU {c.memory.device / 1e9:.2f} GB" if c.memory.device else ""
        loading = c.first.get("load", 0) * 1e3
        first = f"first run {whole(c.first) * 1e3:.0f}, including {loading:.0f} for loading"
        yield f"{first}{memory}{device}"
        if c.psnr_db is not None:
            yield f"{c.psnr_db:.1f} dB against fp32 on ONNX Runtime"
        yield stages([c])
        yield "; ".join(_remarks(c))


def _remarks(c: Configuration) -> Iterator[str]:
    """Warm-up, outliers and cold start."""
    if (total := c.summary.get(TOTAL)) and c.batch > 1:
        yield f"{total.p50 / c.batch * 1e3:.1f} a picture"
    if c.warmup:
        yield f"the first {c.warmup} of {c.rounds} rounds were warm-up and do not count"
    if total:
        yield f"{len(total.outliers)} of {total.count} rounds are outliers, and count"
    if cold := c.cold_summary.get(TOTAL):
        start = c.cold_summary["start"].p50 * 1e3
        yield f"a fresh process needs {cold.p50 * 1e3:.0f}, {start:.0f} of it to start"


def comparison(report: LatencyReport, baseline: str | None) -> Table:
    """Return one line for each configuration: from file to file."""
    names, every = labels(report), report.configurations
    quality = any(c.psnr_db is not None for c in every)
    device = any(c.memory.device is not None for c in every)
    ratios = {
        key: ratio
        for found in by_size(report).values()
        for key, ratio in times_as_fast(found, names, baseline).items()
    }
    rows = tuple(
        (
            text(names[id(c)]), text(c.size), *_times(total), number(ratios.get(id(c))),
            gigabytes(c.memory.host), _outliers(total), Cell(f"{c.warmup} of {c.rounds}"),
            *[gigabytes(c.memory.device)] * device, *[number(c.psnr_db)] * quality,
        )
        for found in by_size(report).values()
        for c in found
        for total in [c.summary.get(TOTAL)]
    )  # fmt: skip
    columns = ("", "size", *_TIMES, ">times as fast", ">peak GB", ">outliers", ">warm-up",
               *([">GPU, GB"] * device), *([">PSNR, dB"] * quality))  # fmt: skip
    against = baseline or "the slowest of the size"
    return Table(f"File to file, milliseconds; times as fast as {against}", columns, rows)


def stages(found: Sequence[Configuration], names: dict[int, str] | None = None) -> Table:
    """Return one line for every stage. names: what to call several configurations."""
    rows = tuple(
        (
            *([text(names[id(c)]), text(c.size)] if names else []),
            text(stage), *_times(s), milliseconds(s.min), _outliers(s),
        )
        for c in found
        for stage, s in c.summary.items()
    )  # fmt: skip
    columns = (*(("", "size") if names else ()), "stage", *_TIMES, ">min", ">outliers")
    return Table("Every stage, milliseconds" if names else "", columns, rows, folded=True)


def side_by_side(
    caption: str, found: Sequence[Configuration], names: dict[int, str], baseline: str | None
) -> Table:
    """Return a column for each configuration of one size: the medians, factors and memory."""
    ratios = times_as_fast(found, names, baseline)
    rows = [
        (text(label), *(milliseconds(c.summary[s].p50 if s in c.summary else None) for c in found))
        for s, label in _SHOWN.items()
        if any(s in c.summary for c in found)
    ]
    rows.append((text("times as fast"), *(number(ratios.get(id(c))) for c in found)))
    rows.append((text("peak memory, GB"), *(gigabytes(c.memory.host) for c in found)))
    columns = (f"{found[0].size}, ms", *(f">{names[id(c)]}" for c in found))
    return Table(caption, columns, tuple(rows))


def by_size(report: LatencyReport) -> dict[str, list[Configuration]]:
    """Return the configurations of each size."""
    sizes = dict.fromkeys(c.size for c in report.configurations)
    return {size: [c for c in report.configurations if c.size == size] for size in sizes}


def labels(report: LatencyReport) -> dict[int, str]:
    """Return a name for each configuration (by its id): the backend, and what else differs."""
    several = len(report.bundles) > 1
    return {
        id(c): ", ".join([c.bundle] * several + [c.backend] + [f"batch {c.batch}"] * (c.batch > 1))
        for c in report.configurations
    }


def times_as_fast(
    configurations: Sequence[Configuration], names: dict[int, str], baseline: str | None
) -> dict[int, float]:
    """Return how many times as fast a picture is as the baseline's, by the configuration's id.

    The baseline is a name, or None for the slowest. Medians are compared.
    """
    totals = {id(c): c.summary[TOTAL].p50 / c.batch for c in configurations if TOTAL in c.summary}
    named = [value for key, value in totals.items() if names[key] == baseline]
    if not totals or (baseline is not None and not named):
        return {}
    slowest = named[0] if named else max(totals.values())
    return {key: slowest / value for key, value in totals.items() if value > 0}


def _times(summary: Summary | None) -> tuple[Cell, ...]:
    if summary is None:
        return (text(None),) * 4
    between = interval_ms(summary.interval)
    return milliseconds(summary.p50), between, milliseconds(summary.p90), milliseconds(summary.p99)


def _outliers(summary: Summary | None) -> Cell:
    return text(None) if summary is None else Cell(f"{len(summary.outliers)} of {summary.count}")
