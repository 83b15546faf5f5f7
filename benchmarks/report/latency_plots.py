"""The plots of one size of a latency result."""

from collections.abc import Sequence
from typing import Final

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import Cell, Plot, Table, milliseconds, rounded, text
from lorair.benchmarks.schema import Configuration, Summary

NO_PARTS: Final = ("total", "cpu")


def size_plots(anchor: str, found: Sequence[Configuration], names: dict[int, str]) -> list[Plot]:
    """Of configurations of one size: every run, the stages, and cold starts if there are any."""
    timed = [c for c in found if "total" in c.summary]
    cold = [c for c in found if "total" in c.cold_summary]
    plots = []
    if timed:
        plots = [_distribution(anchor, timed, names), _bars(anchor, timed, names)]
    if cold:
        plots.append(_cold(anchor, cold, names))
    return plots


def _distribution(anchor: str, found: Sequence[Configuration], names: dict[int, str]) -> Plot:
    rows = [
        charts.Strip(names[id(c)], [v * 1e3 for v in c.samples["total"]], s.p50 * 1e3,
                     s.interval.low * 1e3, s.interval.high * 1e3, c.warmup, s.outliers)
        for c in found
        for s in (c.summary["total"],)
    ]  # fmt: skip
    size = found[0].size
    title = f"Every run, {size}"
    return Plot(
        f"{anchor}_{size}_runs",
        charts.strips(title, "milliseconds, file to file", rows),
        f"{title}. Medians: " + _listed([(r.name, r.median) for r in rows], "ms"),
        _sample_table(found, names),
    )


def _sample_table(found: Sequence[Configuration], names: dict[int, str]) -> Table:
    most = max(c.rounds for c in found)
    rows = []
    for i in range(most):
        cells = [_sample(c, i) for c in found]
        rows.append((Cell(str(i + 1), i + 1), *cells))
    columns = (">round", *(f">{names[id(c)]}" for c in found))
    caption = f"Every run, {found[0].size}, milliseconds; w: warm-up, o: outlier"
    return Table(caption, columns, tuple(rows), folded=True)


def _sample(c: Configuration, i: int) -> Cell:
    if i >= c.rounds:
        return text(None)
    mark = " w" if i < c.warmup else " o" if i in c.summary["total"].outliers else ""
    value = c.samples["total"][i]
    return Cell(milliseconds(value).text + mark, value)


def _bars(anchor: str, found: Sequence[Configuration], names: dict[int, str]) -> Plot:
    rows = [(names[id(c)], stage_medians(c.summary)) for c in found]
    size = found[0].size
    title = f"Where the time goes, {size}"
    return Plot(
        f"{anchor}_{size}_stages",
        charts.stacked(title, "milliseconds, medians of the stages", _thousand(rows)),
        f"{title}. Sums of the stages' medians: " + _listed(_sums(rows), "ms"),
        _parts_table(title, rows),
    )


def _cold(anchor: str, found: Sequence[Configuration], names: dict[int, str]) -> Plot:
    rows = [(names[id(c)], stage_medians(c.cold_summary)) for c in found]
    size = found[0].size
    title = f"The first picture of a process, {size}"
    return Plot(
        f"{anchor}_{size}_cold",
        charts.stacked(title, "milliseconds, medians of the stages", _thousand(rows)),
        f"{title}. Sums of the stages' medians: " + _listed(_sums(rows), "ms"),
        _parts_table(title, rows),
    )


def stage_medians(summary: dict[str, Summary]) -> dict[str, float]:
    """Seconds of the stages that add up to the total."""
    return {stage: s.p50 for stage, s in summary.items() if stage not in NO_PARTS}


def _thousand(rows: Sequence[tuple[str, dict[str, float]]]) -> list[tuple[str, dict[str, float]]]:
    return [(name, {k: v * 1e3 for k, v in parts.items()}) for name, parts in rows]


def _sums(rows: Sequence[tuple[str, dict[str, float]]]) -> list[tuple[str, float]]:
    return [(name, sum(parts.values()) * 1e3) for name, parts in rows]


def _parts_table(title: str, rows: Sequence[tuple[str, dict[str, float]]]) -> Table:
    stages = list(dict.fromkeys(stage for _, parts in rows for stage in parts))
    body = [
        (text(stage), *(milliseconds(parts.get(stage)) for _, parts in rows)) for stage in stages
    ]
    columns = ("stage", *(f">{name}" for name, _ in rows))
    return Table(f"{title}, medians in milliseconds", columns, tuple(body), folded=True)


def _listed(values: Sequence[tuple[str, float]], unit: str) -> str:
    return "; ".join(f"{name} {rounded(value)} {unit}" for name, value in values) + "."
