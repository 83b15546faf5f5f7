"""Result files as Markdown: the functions that the marks of `fill` may name.

Each function takes the folder of the results and the words of its mark, among them names of
results without `.json`.
"""

import json
import shlex
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from lorair.benchmarks.schema.costs import CommandsReport, ExpertsReport, ThroughputReport
from lorair.benchmarks.schema.latency import Configuration, LatencyReport
from lorair.benchmarks.schema.quality import QualityReport, TileRow, TilesReport
from lorair.benchmarks.schema.results_file import Report, read_report
from lorair.benchmarks.tables import costs
from lorair.benchmarks.tables import quality as qualities
from lorair.benchmarks.tables.cells import (
    by_column,
    gigabytes,
    megabytes,
    milliseconds,
    number,
    text,
)
from lorair.benchmarks.tables.latency import labels, side_by_side
from lorair.benchmarks.timing.latency import TOTAL
from lorair.runtime.system.table import Cell, Table, to_markdown

Kind = TypeVar("Kind", bound=Report)
FORMS: Final = ("merged", "gates")


def latency(results: Path, name: str, size: str, backends: str = "") -> str:
    """Return router, restorer and the whole by backend: milliseconds, factors and memory."""
    found, names = _configurations(results, name, size, backends)
    return to_markdown(side_by_side("", found, names, names[id(found[0])]))


def memory(results: Path, name: str) -> str:
    """Return the peak memory of a process in GB, by size and backend."""
    found = _read(results, name, LatencyReport).configurations
    cells = {b: {c.size: gigabytes(c.memory.host) for c in found if c.backend == b}
             for b in dict.fromkeys(c.backend for c in found)}  # fmt: skip
    return to_markdown(by_column("", "GB", cells))


def cold(results: Path, name: str, size: str) -> str:
    """Return the seconds of a fresh process to its first picture, without and with a cache."""
    found, _ = _configurations(results, name, size)
    parts = ("load", "router", "restorer")
    rows = []
    for c in found:
        first = [number(c.first[part]) for part in parts]
        rows.append([text(f"{c.backend}, nothing in the cache"), Cell(""), *first, Cell("")])
        later = [number(c.cold_summary[part].p50) for part in ("start", *parts, TOTAL)]
        rows.append([text(f"{c.backend}, from the cache"), *later])
    return _table(["s", "start of the process", *parts, "to the first picture"], rows)


def accuracy(results: Path, size: str, *names: str) -> str:
    """Return PSNR of the 8-bit picture and the restorer's time, by bundle and backend."""
    rows = [
        [text(bundle.precision), text(c.backend), _decibels(c),
         milliseconds(c.summary["restorer"].p50), gigabytes(c.memory.host)]
        for report in (_read(results, name, LatencyReport) for name in names)
        for bundle in report.bundles
        for c in report.configurations if (c.bundle, c.size) == (bundle.label, size)
    ]  # fmt: skip
    heads = ["bundle", "backend", "PSNR, dB", "restorer, ms", "peak memory, GB"]
    return _table(heads, rows, left=2)


def throughput(results: Path, *names: str) -> str:
    """Return pictures a second, by backend and how many at once."""
    return to_markdown(costs.throughput(*(_read(results, n, ThroughputReport) for n in names)))


def tiles(results: Path, name: str) -> str:
    """Return PSNR against the picture restored at once, and the seam, by picture and tile."""
    found = _read(results, name, TilesReport).rows
    sides = sorted({row.tile for row in found})
    shown = {(_label(row), row.tile): f"{row.psnr_db:.1f} ({row.seam:.1f})" for row in found}
    rows = [
        [text(label), *(Cell(shown.get((label, side), "")) for side in sides)]
        for label in dict.fromkeys(label for label, _ in shown)
    ]
    return _table(["", *(f"tile {side}" for side in sides)], rows)


def quality(results: Path, name: str) -> str:
    """Return the means of each data folder before and after, and the gains in PSNR."""
    return to_markdown(qualities.classes(_read(results, name, QualityReport)))


def experts(results: Path, name: str) -> str:
    """Return milliseconds by size, and megabytes, merged and with gates, for top_k 1."""
    rows = [row for row in _read(results, name, ExpertsReport).rows if row.top_k == 1]
    sizes = list(dict.fromkeys(row.size for row in rows))
    found = {(str(row.experts), str(row.form), row.size): row for row in rows}
    lines = []
    for count in dict.fromkeys(str(row.experts) for row in rows):
        times = [milliseconds(found[count, form, size].p50) for size in sizes for form in FORMS]
        disk = [megabytes(found[count, form, sizes[0]].bundle_bytes) for form in FORMS]
        switch = number(found[count, "merged", sizes[0]].switch_seconds)
        lines.append([text(count), *times, *disk, switch])
    names = [f"{size}, {form}, ms" for size in sizes for form in FORMS]
    return _table(["experts", *names, *(f"{form}, MB" for form in FORMS), "switch, s"], lines, 0)


def crossover(results: Path, name: str) -> str:
    """Return what an experts result says, as a list."""
    return "\n".join(f"- {line}" for line in _read(results, name, ExpertsReport).crossover)


def batches(results: Path, name: str) -> str:
    """Return milliseconds a picture and the peak memory, by backend, size and batch."""
    found = _read(results, name, LatencyReport).configurations
    counts = sorted({c.batch for c in found})
    by_place = {(c.backend, c.size, c.batch): c for c in found}
    rows = []
    for backend, size in dict.fromkeys((c.backend, c.size) for c in found):
        cells = [by_place[backend, size, count] for count in counts]
        times = [
            milliseconds(c.summary[stage].p50 / c.batch)
            for stage in ("restorer", TOTAL) for c in cells
        ]  # fmt: skip
        memory = [gigabytes(c.memory.host) for c in cells]
        rows.append([text(f"{backend}, {size}"), *times, *memory])
    parts = ("restorer, ms", "file to file, ms", "peak, GB")
    return _table(["", *(f"{part}, {b} in a run" for part in parts for b in counts)], rows)


def commands(results: Path, name: str, *names: str) -> str:
    """Return seconds and peak memory of whole commands. names: one for each of them."""
    return to_markdown(costs.commands(_read(results, name, CommandsReport), names), escape=False)


def bytes_of(results: Path, name: str, ending: str) -> str:
    """Return the size of what a command made, its path by the ending, in MB or GB."""
    found = _read(results, name, CommandsReport).sizes
    (size,) = [value for path, value in found.items() if path.endswith(ending)]
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def transcript(results: Path, name: str, position: str) -> str:
    """Return a command and what it printed, in a fenced block."""
    run = _read(results, name, CommandsReport).runs[int(position)]
    return f"```\n$ {shlex.join(run.command)}\n{run.output.strip()}\n```"


def reported(results: Path, name: str, position: str, key: str) -> str:
    """Return one value of the JSON that a command printed; `a.b.0` is in what `a` holds."""
    run = _read(results, name, CommandsReport).runs[int(position)]
    value = json.loads(run.output.splitlines()[0])
    for step in key.split("."):
        value = value[int(step) if isinstance(value, list) else step]
    return str(value)


def sizing(results: Path, *places: str) -> str:
    """Return core-seconds a picture and pictures a core-hour.

    A place is `label=file`, or `label=file:size:backend` for a latency result.
    """
    rows = [_sizing(results, *place.rsplit("=", 1)) for place in places]
    heads = ["model, picture", "backend", "core-seconds a picture", "pictures a core-hour",
             "memory of a process, GB", "from"]  # fmt: skip
    return _table(heads, rows, left=2)


def _sizing(results: Path, label: str, place: str) -> list[Cell]:
    name, *choice = place.split(":")
    if choice:
        size, backend = choice
        report = _read(results, name, LatencyReport)
        ((c,), _) = _configurations(results, name, size, backend)
        cores = int(report.settings["threads"] or 1)
        cost, memory = c.summary[TOTAL].p50 * cores, gigabytes(c.memory.host)
    else:
        folder = _read(results, name, ThroughputReport)
        best = min(statistics.median(run.cpu_seconds) for run in folder.runs)
        cost, backend, memory = best / folder.pictures, folder.backend, Cell("")
    hourly = f"{float(f'{3600 / cost:.2g}'):,.0f}"
    return [*map(text, (label, backend)), number(cost), Cell(hourly), memory, Cell(f"`{name}`")]


FUNCTIONS: Final[dict[str, Callable[..., str]]] = {
    function.__name__: function
    for function in (
        latency, memory, cold, accuracy, throughput, tiles, quality, experts, crossover, batches,
        commands, bytes_of, transcript, reported, sizing,
    )
}  # fmt: skip


def _table(heads: list[str], rows: Iterable[Sequence[Cell]], left: int = 1) -> str:
    """Columns from `left` on are right-aligned."""
    columns = [head if i < left else f">{head}" for i, head in enumerate(heads)]
    return to_markdown(Table("", tuple(columns), tuple(map(tuple, rows))), escape=False)


def _configurations(
    results: Path, name: str, size: str, backends: str = ""
) -> tuple[list[Configuration], dict[int, str]]:
    """Those of a size, in the order of the backends that are named; and all their labels."""
    report = _read(results, name, LatencyReport)
    found = [c for c in report.configurations if c.size == size]
    by_name = {c.backend: c for c in found}
    chosen = [by_name[backend] for backend in backends.split(",")] if backends else found
    return chosen, labels(report)


def _label(row: TileRow) -> str:
    parts = PurePosixPath(row.picture).with_suffix("").parts
    return f"{' '.join(part for part in parts if part != 'input')}, {row.width}×{row.height}"


def _decibels(c: Configuration) -> Cell:
    if c.psnr_db is None:
        raise ValueError("no PSNR was measured")
    # 100 stood for equal pictures until 160 did.
    return Cell("equal" if c.psnr_db in (100, 160) else f"{c.psnr_db:.1f}")


def _read(results: Path, name: str, kind: type[Kind]) -> Kind:
    report = read_report(results / f"{name}.json")
    if not isinstance(report, kind):
        raise ValueError(f"{name}.json is one of lorair-bench {report.kind}")
    if not report.complete:
        raise ValueError(f"{name}.json is not complete")
    return report
