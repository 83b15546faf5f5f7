"""Plots with their description in words and the table of their data, made of the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.charts import Curve, Strip
from lorair.benchmarks.report.content import Plot
from lorair.benchmarks.tables.cells import by_column, number, rounded
from lorair.runtime.system.table import Cell


@dataclass(frozen=True)
class Unit:
    """A unit of an axis. scale: times a file's number."""

    name: str
    scale: float = 1.0

    def cell(self, value: float) -> Cell:
        """Return a cell of a file's number."""
        return number(value, self.scale)

    def all(self, values: Sequence[float]) -> list[float]:
        """Return files' numbers in this unit."""
        return [value * self.scale for value in values]

    def words(self, value: float) -> str:
        """Return a file's number in words."""
        return f"{rounded(value * self.scale)} {self.name}"


SECONDS: Final = Unit("seconds")
MILLISECONDS: Final = Unit("milliseconds", 1e3)
GIGABYTES: Final = Unit("GB", 1e-9)
MEGABYTES: Final = Unit("MB", 1e-6)


def strips(name: str, title: str, unit: Unit, rows: Sequence[Strip], detail: str = "") -> Plot:
    """Plot every sample of each row. detail: follows the unit at the axis."""
    scaled = [
        replace(r, values=unit.all(r.values), median=r.median * unit.scale, low=r.low * unit.scale,
                high=r.high * unit.scale)
        for r in rows
    ]  # fmt: skip
    cells = {r.name: {str(i + 1): _sample(r, i, unit) for i in range(len(r.values))} for r in rows}
    marks = "; w: warm-up, o: outlier" if any(r.warmup or r.outliers for r in rows) else ""
    return Plot(
        name,
        charts.strips(title, unit.name + detail, scaled),
        f"{title}. Medians: {'; '.join(f'{r.name} {unit.words(r.median)}' for r in rows)}.",
        by_column(f"{title}, {unit.name}{marks}", ">round", cells),
    )


def _sample(row: Strip, i: int, unit: Unit) -> Cell:
    cell = unit.cell(row.values[i])
    mark = " w" if i < row.warmup else " o" if i in row.outliers else ""
    return replace(cell, text=cell.text + mark)


def stacked(
    name: str, title: str, unit: Unit, rows: Mapping[str, Mapping[str, float]], detail: str = ""
) -> Plot:
    """Plot the parts of each row. detail: follows the unit at the axis."""
    scaled = {n: {k: v * unit.scale for k, v in parts.items()} for n, parts in rows.items()}
    sums = "; ".join(f"{n} {unit.words(sum(parts.values()))}" for n, parts in rows.items())
    cells = {n: {k: unit.cell(v) for k, v in parts.items()} for n, parts in rows.items()}
    return Plot(
        name,
        charts.stacked(title, unit.name + detail, scaled),
        f"{title}. Sums of the parts: {sums}.",
        by_column(f"{title}, {unit.name}{detail}", "part", cells),
    )


def lines(
    name: str, title: str, x: str, unit: Unit, curves: Sequence[Curve], log: tuple[bool, bool]
) -> Plot:
    """Plot curves over x. log: whether x and y are logarithmic."""
    scaled = [
        replace(c, y=unit.all(c.y), low=unit.all(c.low), high=unit.all(c.high)) for c in curves
    ]
    parts = [
        f"{c.name} from {unit.words(c.y[0])} at {c.x[0]:.3g} to {unit.words(c.y[-1])} at "
        f"{c.x[-1]:.3g} {x}"
        for c in curves
    ]
    named = [list(zip(c.names or [f"{v:g}" for v in c.x], c.x, c.y, strict=True)) for c in curves]
    order = {point: at for points in named for point, at, _ in points}
    cells = {
        c.name: {point: unit.cell(y) for point, _, y in points}
        for c, points in zip(curves, named, strict=True)
    }
    return Plot(
        name,
        charts.lines(title, x, unit.name, scaled, log),
        f"{title}: {'; '.join(parts)}.",
        by_column(f"{title}, {unit.name}", x, cells, sorted(order, key=lambda p: order[p])),
    )
