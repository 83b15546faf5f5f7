"""Result files as Markdown: what the marks of `documented` may name.

Each function takes the folder of the results and the words of its mark, names of results
without `.json` among them. Durations come out in the unit that the column says.
"""

import json
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeVar

from lorair.benchmarks.docs.cells import gigabytes, milliseconds, seconds, square, table
from lorair.benchmarks.schema import (
    CommandsReport,
    Configuration,
    ExpertsReport,
    LatencyReport,
    QualityReport,
    Report,
    ThroughputReport,
    TileRow,
    TilesReport,
)
from lorair.benchmarks.schema.results_file import read_report
from lorair.benchmarks.timing.latency import TOTAL

Kind = TypeVar("Kind", bound=Report)

EAGER: Final = "torch-eager"
_NAMES: Final = {TOTAL: "file to file"}


def latency(results: Path, name: str, size: str, backends: str = "") -> str:
    """Router, restorer and the whole by backend: milliseconds, factors and memory."""
    found = _configurations(results, name, size, backends)
    rows = [
        [_NAMES.get(stage, stage), *(milliseconds(c.summary[stage].p50) for c in found)]
        for stage in ("router", "restorer", TOTAL)
        if all(stage in c.summary for c in found)
    ]
    rows.append(_factors(found, TOTAL))
    rows.append(["peak memory, GB", *(gigabytes(c.memory.host) for c in found)])
    return table([f"{square(size)}, ms", *(c.backend for c in found)], rows)


def stage(results: Path, name: str, stage: str, *sizes: str) -> str:
    """One stage by backend and size: milliseconds and factors."""
    rows, heads = [], ["ms"]
    for size in sizes:
        found = _configurations(results, name, size)
        heads = ["ms", *(c.backend for c in found)]
        times = [milliseconds(c.summary[stage].p50) for c in found]
        rows += [[square(size), *times], _factors(found, stage)]
    return table(heads, rows)


def sizes(results: Path, stage: str, *names: str) -> str:
    """One stage by size and backend: seconds, and the process's peak memory."""
    found = [c for name in names for c in _read(results, name, LatencyReport).configurations]
    backends = list(dict.fromkeys(c.backend for c in found))
    by_place = {(c.size, c.backend): c for c in found}
    rows = []
    for size in dict.fromkeys(c.size for c in found):
        cells = [by_place[size, backend] for backend in backends]
        texts = [(seconds(c.summary[stage].p50), gigabytes(c.memory.host)) for c in cells]
        rows.append([square(size), *(part for pair in texts for part in pair)])
    return table(["", *(part for b in backends for part in (f"{b}, s", "GB"))], rows)


def cold(results: Path, name: str, size: str) -> str:
    """Fresh processes: seconds of loading and of the first picture, with and without a cache."""
    found = _configurations(results, name, size)
    parts = ("load", "router", "restorer")
    rows = []
    for c in found:
        first = [seconds(c.first[part]) for part in parts]
        rows.append([f"{c.backend}, nothing in the cache", "", *first, ""])
        later = [seconds(c.cold_summary[part].p50) for part in ("start", *parts, TOTAL)]
        rows.append([f"{c.backend}, from the cache", *later])
    return table(["s", "start of the process", *parts, "to the first picture"], rows)


def accuracy(results: Path, size: str, *names: str) -> str:
    """Every bundle and backend: PSNR of the 8-bit picture, and the restorer's time."""
    rows = []
    for report in (_read(results, name, LatencyReport) for name in names):
        precision = {bundle.label: bundle.precision for bundle in report.bundles}
        rows += [
            [precision[c.bundle], c.backend, _decibels(c),
             milliseconds(c.summary["restorer"].p50), gigabytes(c.memory.host)]
            for c in report.configurations if c.size == size
        ]  # fmt: skip
    heads = ["bundle", "backend", "PSNR, dB", "restorer, ms", "peak memory, GB"]
    return table(heads, rows, left=2)


def throughput(results: Path, *names: str) -> str:
    """Pictures a second by how many at once, a column for each number."""
    reports = [_read(results, name, ThroughputReport) for name in names]
    jobs = [run.jobs for run in reports[0].runs]
    rows = []
    for report in reports:
        medians = [statistics.median(run.seconds) for run in report.runs]
        rates = [f"{report.pictures / value:.2f}" for value in medians]
        rows.append([f"{report.backend}, pictures a second", *rates, _times(medians)])
    for report in reports:
        medians = [statistics.median(run.cpu_seconds) for run in report.runs]
        rows.append([f"{report.backend}, processor seconds a round", *map(seconds, medians), ""])
    return table(["", *(f"{count} at once" for count in jobs), "times as fast"], rows)


def tiles(results: Path, name: str) -> str:
    """Pictures by tile: PSNR against the picture at once, and the seam error."""
    report = _read(results, name, TilesReport)
    sides = sorted({row.tile for row in report.rows})
    by_place = {(_label(row), row.tile): row for row in report.rows}
    rows = []
    for label in dict.fromkeys(label for label, _ in by_place):
        cells = [by_place.get((label, side)) for side in sides]
        rows.append([label, *(f"{c.psnr_db:.1f} ({c.seam:.1f})" if c else "" for c in cells)])
    return table(["", *(f"tile {side}" for side in sides)], rows)


def quality(results: Path, name: str) -> str:
    """Each data folder's means before and after, and the gains in PSNR."""
    report = _read(results, name, QualityReport)
    rows = []
    for group, means in report.groups.items():
        pairs = [
            f"{getattr(means.before, score):.{digits}f} → {getattr(means.after, score):.{digits}f}"
            for score, digits in (("psnr", 2), ("ssim", 3), ("psnr_y", 2), ("ssim_y", 3))
        ]
        inside = [p for p in report.pictures if p.name.startswith(f"{group}/")]
        gains = [p.after.psnr - p.before.psnr for p in inside]
        rows.append([group, *pairs, f"+{statistics.mean(gains):.2f} dB", f"{min(gains):+.2f} dB"])
    heads = ["", "PSNR", "SSIM", "PSNR Y", "SSIM Y", "mean gain", "least gain"]
    return table(heads, rows, left=7)


def experts(results: Path, name: str) -> str:
    """Merged and with gates, top_k 1: milliseconds by size, and megabytes."""
    rows = [row for row in _read(results, name, ExpertsReport).rows if row.top_k == 1]
    forms: tuple[Literal["merged", "gates"], ...] = ("merged", "gates")
    sizes = list(dict.fromkeys(row.size for row in rows))
    found = {(row.experts, row.form, row.size): row for row in rows}
    lines = []
    for count in dict.fromkeys(row.experts for row in rows):
        times = [found[count, form, size].p50 for size in sizes for form in forms]
        disk = [found[count, form, sizes[0]].bundle_bytes or 0 for form in forms]
        switch = found[count, "merged", sizes[0]].switch_seconds
        lines.append([
            str(count), *("?" if t is None else milliseconds(t) for t in times),
            *(f"{size / 1e6:.1f}" for size in disk), "" if switch is None else seconds(switch),
        ])  # fmt: skip
    names = [f"{square(size)}, {form}, ms" for size in sizes for form in forms]
    return table(["experts", *names, *(f"{form}, MB" for form in forms), "switch, s"], lines, 0)


def crossover(results: Path, name: str) -> str:
    """What an experts result says, as a list."""
    return "\n".join(f"- {text}" for text in _read(results, name, ExpertsReport).crossover)


def batches(results: Path, name: str) -> str:
    """By backend and size: milliseconds a picture, and the process's peak memory."""
    found = _read(results, name, LatencyReport).configurations
    batches = sorted({c.batch for c in found})
    by_place = {(c.backend, c.size, c.batch): c for c in found}
    rows = []
    for backend, size in dict.fromkeys((c.backend, c.size) for c in found):
        cells = [by_place[backend, size, batch] for batch in batches]
        times = [
            milliseconds(c.summary[stage].p50 / c.batch)
            for stage in ("restorer", TOTAL) for c in cells
        ]  # fmt: skip
        memory = [gigabytes(c.memory.host) for c in cells]
        rows.append([f"{backend}, {square(size)}", *times, *memory])
    parts = ("restorer, ms", "file to file, ms", "peak, GB")
    return table(["", *(f"{part}, {b} in a run" for part in parts for b in batches)], rows)


def commands(results: Path, name: str, *labels: str) -> str:
    """Whole commands: median and range of seconds, and peak memory. A label for each."""
    runs = _read(results, name, CommandsReport).runs
    rows = []
    for run, label in zip(runs, labels or (shlex.join(r.command) for r in runs), strict=True):
        low, high = min(run.seconds), max(run.seconds)
        spread = f" ({seconds(low)} to {seconds(high)})" if len(run.seconds) > 1 else ""
        rows.append([label, f"{seconds(run.p50)}{spread}", gigabytes(run.peak_memory)])
    return table(["", "seconds", "peak memory, GB"], rows)


def bytes_of(results: Path, name: str, ending: str) -> str:
    """Size of what a command made, the path by its ending: MB or GB."""
    sizes = _read(results, name, CommandsReport).sizes
    (size,) = [value for path, value in sizes.items() if path.endswith(ending)]
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def transcript(results: Path, name: str, position: str) -> str:
    """A command and what it printed, in a fenced block."""
    run = _read(results, name, CommandsReport).runs[int(position)]
    return f"```\n$ {shlex.join(run.command)}\n{run.output.strip()}\n```"


def reported(results: Path, name: str, position: str, key: str) -> str:
    """One value of the JSON that a command printed; `a.0` is the first of the list `a`."""
    run = _read(results, name, CommandsReport).runs[int(position)]
    first, *rest = key.split(".")
    value = json.loads(run.output.splitlines()[0])[first]
    return str(value[int(rest[0])] if rest else value)


def sizing(results: Path, *places: str) -> str:
    """Core-seconds a picture and pictures a core-hour. A place is `label=file[:size:backend]`."""
    rows = [_sizing(results, *place.rsplit("=", 1)) for place in places]
    heads = ["model, picture", "backend", "core-seconds a picture", "pictures a core-hour",
             "memory of a process, GB", "from"]  # fmt: skip
    return table(heads, rows, left=2)


def _sizing(results: Path, label: str, place: str) -> list[str]:
    name, *choice = place.split(":")
    if choice:
        size, backend = choice
        report = _read(results, name, LatencyReport)
        (c,) = _configurations(results, name, size, backend)
        cores = int(report.settings["threads"] or 1)
        cost, memory = c.summary[TOTAL].p50 * cores, gigabytes(c.memory.host)
    else:
        folder = _read(results, name, ThroughputReport)
        best = min(statistics.median(run.cpu_seconds) for run in folder.runs)
        cost, backend, memory = best / folder.pictures, folder.backend, ""
    hourly = f"{float(f'{3600 / cost:.2g}'):,.0f}"
    return [label, backend, seconds(cost), hourly, memory, f"`{name}`"]


def median(results: Path, name: str, size: str, backend: str, stage: str) -> str:
    """One number: seconds."""
    (c,) = _configurations(results, name, size, backend)
    return f"{seconds(c.summary[stage].p50)} s"


def factor(results: Path, name: str, size: str, slow: str, fast: str, stage: str = TOTAL) -> str:
    """How many times as fast one backend is as another."""
    a, b = _configurations(results, name, size, f"{slow},{fast}")
    return f"{_ratio(a.summary[stage].p50, b.summary[stage].p50)} times"


FUNCTIONS: Final[dict[str, Callable[..., str]]] = {
    function.__name__: function
    for function in (
        latency, stage, sizes, cold, accuracy, throughput, tiles, quality, experts, crossover,
        batches, commands, bytes_of, transcript, reported, sizing, median, factor,
    )
}  # fmt: skip


def _configurations(results: Path, name: str, size: str, backends: str = "") -> list[Configuration]:
    found = [c for c in _read(results, name, LatencyReport).configurations if c.size == size]
    if not backends:
        return found
    by_name = {c.backend: c for c in found}
    return [by_name[backend] for backend in backends.split(",")]


def _label(row: TileRow) -> str:
    parts = PurePosixPath(row.picture).with_suffix("").parts
    return f"{' '.join(part for part in parts if part != 'input')}, {row.width}×{row.height}"


def _factors(found: list[Configuration], stage: str) -> list[str]:
    slow = found[0].summary[stage].p50
    return ["times as fast", *(_ratio(slow, c.summary[stage].p50) for c in found)]


def _ratio(slow: float, fast: float) -> str:
    return "1" if slow == fast else f"{slow / fast:.2f}"


def _times(medians: list[float]) -> str:
    return f"{medians[0] / medians[-1]:.2f}"


def _decibels(c: Configuration) -> str:
    if c.psnr_db is None:
        raise ValueError("no PSNR was measured")
    return "equal" if c.psnr_db >= 100 else f"{c.psnr_db:.1f}"


def _read(results: Path, name: str, kind: type[Kind]) -> Kind:
    report = read_report(results / f"{name}.json")
    if not isinstance(report, kind):
        raise ValueError(f"{name}.json is one of lorair-bench {report.kind}")
    if not report.complete:
        raise ValueError(f"{name}.json is not complete")
    return report
