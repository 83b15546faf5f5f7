"""Experts results: what a mixture costs, by the number of its experts."""

from collections.abc import Callable, Sequence
from typing import Final

from lorair.benchmarks.report import charts
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
from lorair.benchmarks.schema import ExpertRow, ExpertsReport, Interval

TITLE: Final = "Experts"


def section(source: Source) -> Section:
    """Everything of one file."""
    report = source.report
    assert isinstance(report, ExpertsReport)
    rows = report.rows
    sizes = list(dict.fromkeys((r.height, r.width) for r in rows))
    plots: list[Plot] = []
    for height, width in sizes:
        found = [r for r in rows if (r.height, r.width) == (height, width)]
        plots += _plots(f"{source.anchor}_{height}x{width}", f"{height}x{width}", found)
    table = _table(rows)
    summary = (Table(f"{source.label}: {table.caption}", table.columns, table.rows),)
    remarks = [report.description]
    return file_section(source, remarks, report.crossover, (table,), tuple(plots), summary=summary)


def _plots(anchor: str, size: str, rows: Sequence[ExpertRow]) -> list[Plot]:
    """Time, memory and bundle, each if there is anything of it."""
    drawn: list[tuple[str, str, float, Callable[[ExpertRow], float | None]]] = [
        ("Time by number of experts", "milliseconds", 1e3, lambda r: r.p50),
        ("Peak memory by number of experts", "GB", 1e-9, lambda r: r.peak_memory),
        ("Bundle by number of experts", "MB", 1e-6, lambda r: r.bundle_bytes),
    ]
    return [
        _plot(f"{anchor}_{name}", f"{title}, {size}", unit, scale, pick, rows)
        for name, (title, unit, scale, pick) in zip(
            ("time", "memory", "bundle"), drawn, strict=True
        )
        if any(pick(r) is not None for r in rows)
    ]


def _plot(
    name: str,
    title: str,
    unit: str,
    scale: float,
    pick: Callable[[ExpertRow], float | None],
    rows: Sequence[ExpertRow],
) -> Plot:
    groups: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if (value := pick(row)) is not None:
            groups.setdefault(_name(row, rows), []).append((row.experts, value))
    series = []
    for label, found in groups.items():
        points = sorted(found)
        series.append(charts.Series(label, [x for x, _ in points], [y * scale for _, y in points]))
    figure = charts.lines(title, "experts", unit, series, (True, False))
    body = tuple(
        (text(label), Cell(str(x), x), number(y, scale))
        for label, found in groups.items()
        for x, y in sorted(found)
    )
    table = Table(f"{title}, {unit}", ("", ">experts", f">{unit}"), body, folded=True)
    return Plot(name, figure, _alt(title, unit, series), table)


def _name(row: ExpertRow, rows: Sequence[ExpertRow]) -> str:
    """The form, and top_k if there is more than one."""
    return f"{row.form}, top {row.top_k}" if len({r.top_k for r in rows}) > 1 else row.form


def _alt(title: str, unit: str, series: Sequence[charts.Series]) -> str:
    parts = [
        f"{s.name} from {rounded(s.y[0])} {unit} with {s.x[0]:.0f} to {rounded(s.y[-1])} {unit} "
        f"with {s.x[-1]:.0f}"
        for s in series
    ]
    return f"{title}: {'; '.join(parts)}."


def _table(rows: Sequence[ExpertRow]) -> Table:
    columns = (">experts", ">top", ">rank", "form", "size", ">p50, ms", ">95 % interval",
               ">peak memory, GB", ">bundle, MB", ">switching, ms", "note")  # fmt: skip
    body = tuple(
        (number_of(r.experts), number_of(r.top_k), number_of(r.rank), text(r.form),
         text(f"{r.height}x{r.width}"), milliseconds(r.p50), _between(r.interval),
         gigabytes(r.peak_memory), number(r.bundle_bytes, 1e-6),
         milliseconds(getattr(r, "switch_seconds", None)), text(r.note or None))
        for r in rows
    )  # fmt: skip
    return Table("Every form of every mixture", columns, body)


def number_of(count: int) -> Cell:
    """A count, as it is."""
    return Cell(str(count), count)


def _between(interval: Interval | None) -> Cell:
    if interval is None:
        return text(None)
    return Cell(f"{rounded(interval.low * 1e3)} to {rounded(interval.high * 1e3)}")
