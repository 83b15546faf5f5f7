"""Kernel results: the fused operators' floors and times."""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import (
    Cell,
    Plot,
    Section,
    Source,
    Table,
    number,
    rounded,
    text,
)
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.report.roofline import roofline
from lorair.benchmarks.schema import KernelSize, KernelsReport
from lorair.benchmarks.schema.parts import Value
from lorair.runtime.errors import ResultError

TITLE: Final = "Kernels"
_NOT_TIMED: Final = (
    "Nothing was timed: floors are computed, from what each operator must move and multiply and "
    "from what the devices can."
)
_TIMES: Final = (("floor", "floor_ms"), ("fused", "fused_ms"), ("unfused", "unfused_ms"),
                 ("merged", "merged_ms"))  # fmt: skip


class Device(BaseModel):
    """bandwidth: bytes a second. rate: operations a second."""

    name: str
    bandwidth: float = Field(gt=0)
    rate: float = Field(gt=0)


class Layer(BaseModel):
    """One operator at one place of the network, as `kernel_floors.row` writes it."""

    model_config = ConfigDict(extra="ignore")

    operator: str
    inputs: int
    outputs: int
    height: int
    width: int
    count: int
    bytes: int = Field(gt=0)
    operations: int = Field(ge=0)
    floor_ms: float = Field(ge=0)
    bound_by: str
    fused_ms: float | None = None
    unfused_ms: float | None = None
    merged_ms: float | None = None


class Measured(BaseModel):
    """A picture size on a device."""

    size: tuple[int, int]
    device: Device
    layers: tuple[Layer, ...] = Field(min_length=1)
    network_ms: dict[str, float] | None = None

    @property
    def name(self) -> str:
        """Size and device."""
        return f"{self.size[0]}x{self.size[1]}, {self.device.name}"


def section(source: Source) -> Section:
    """Everything of one file. Raises ResultError for rows that are no layers."""
    report = source.report
    assert isinstance(report, KernelsReport)
    found = [_measured(source, entry) for entry in report.sizes]
    sizes = dict.fromkeys(entry.size for entry in found)
    parts = [
        _size(source, report.timed, [entry for entry in found if entry.size == size])
        for size in sizes
    ]
    remarks = [f"{report.preset}, {report.dtype}"]
    tables = _compiled(report)
    summary = tuple(table for part in parts for table in part.summary)
    findings = () if report.timed else (_NOT_TIMED,)
    return file_section(source, remarks, findings, tables, parts=tuple(parts), summary=summary)


def _measured(source: Source, entry: KernelSize) -> Measured:
    try:
        return Measured.model_validate(entry.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ResultError(
            f"cannot read the result {source.path}",
            wanted=f"layers as lorair-bench kernels writes them, at {place}",
            found=first["msg"],
            hint="name a file that lorair-bench wrote with --report",
        ) from None


def _size(source: Source, timed: bool, entries: Sequence[Measured]) -> Section:
    height, width = entries[0].size
    size = f"{height}x{width}"
    anchor = f"{source.anchor}_{size}"
    plots = [_roofline(anchor, size, timed, entries)]
    plots += [_operators(f"{anchor}_operators-{i}", entry) for i, entry in enumerate(entries)]
    networks = tuple(
        f"{entry.device.name}, the network as one CUDA graph: "
        + ", ".join(f"{name} {rounded(value)} ms" for name, value in entry.network_ms.items())
        for entry in entries
        if entry.network_ms
    )
    return Section(
        anchor, f"{size} pixels", remarks=networks,
        tables=tuple(_sums(entry) for entry in entries) + tuple(_layers(e) for e in entries),
        plots=tuple(plots), summary=tuple(_sums(entry, f"{source.label}: ") for entry in entries),
    )  # fmt: skip


def _times(entry: Measured) -> list[tuple[str, str]]:
    """Names and fields of the times that all layers have."""
    return [
        (name, field) for name, field in _TIMES
        if all(getattr(layer, field) is not None for layer in entry.layers)
    ]  # fmt: skip


def _total(layers: Sequence[Layer], field: str) -> float:
    return float(sum(getattr(layer, field) * layer.count for layer in layers))


def _by_operator(entry: Measured) -> dict[str, list[Layer]]:
    names = dict.fromkeys(layer.operator for layer in entry.layers)
    return {n: [layer for layer in entry.layers if layer.operator == n] for n in names}


def _sums(entry: Measured, before: str = "") -> Table:
    """A line an operator, over the whole network."""
    times = _times(entry)
    groups = [*_by_operator(entry).items(), ("together", list(entry.layers))]
    rows = []
    for name, layers in groups:
        count = sum(layer.count for layer in layers)
        rows.append((
            text(name), Cell(str(count), count), number(_total(layers, "bytes"), 1e-6),
            number(_total(layers, "operations"), 1e-9),
            *(number(_total(layers, field)) for _, field in times),
        ))  # fmt: skip
    columns = ("operator", ">count", ">MB", ">GFLOP", *(f">{n}, ms" for n, _ in times))
    return Table(f"{before}{entry.name}: over the whole network", columns, tuple(rows))


def _layers(entry: Measured) -> Table:
    """A line for each place of the network."""
    times = _times(entry)
    columns = ("operator", ">count", ">channels", ">plane", ">MB", ">GFLOP", "bound by",
               *(f">{name}, µs" for name, _ in times))  # fmt: skip
    rows = tuple(
        (text(x.operator), Cell(str(x.count), x.count), text(f"{x.inputs} to {x.outputs}"),
         text(f"{x.height}x{x.width}"), number(x.bytes, 1e-6), number(x.operations, 1e-9),
         text(x.bound_by), *(number(getattr(x, field), 1e3) for _, field in times))
        for x in entry.layers
    )  # fmt: skip
    return Table(f"{entry.name}: every operator, once", columns, rows, folded=True)


def _roofline(anchor: str, size: str, timed: bool, entries: Sequence[Measured]) -> Plot:
    title = f"Roofline, {size}" + ("" if timed else ": computed, not timed")
    devices = "; ".join(
        f"{e.device.name}: {e.device.bandwidth / 1e12:.2f} TB/s and "
        f"{e.device.rate / 1e12:.0f} TFLOP/s, {_bound(e)} of {len(e.layers)} operators bound by "
        "memory"
        for e in entries
    )
    rows = tuple(
        (text(e.device.name), text(x.operator), text(f"{x.inputs} to {x.outputs}"),
         number(x.operations / x.bytes),
         number(x.operations / (x.floor_ms * 1e-3) if x.floor_ms else None, 1e-12),
         number(x.operations / (x.fused_ms * 1e-3) if x.fused_ms else None, 1e-12))
        for e in entries
        for x in e.layers
    )  # fmt: skip
    columns = ("device", "operator", ">channels", ">FLOP a byte", ">TFLOP/s at the floor",
               ">TFLOP/s measured")  # fmt: skip
    table = Table(f"Roofline, {size}", columns, rows, folded=True)
    return Plot(f"{anchor}_roofline", roofline(title, entries), f"{title}. {devices}.", table)


def _bound(entry: Measured) -> int:
    return sum(layer.bound_by == "memory" for layer in entry.layers)


def _operators(name: str, entry: Measured) -> Plot:
    """Where the time of the network goes, by kind of time."""
    groups = _by_operator(entry)
    rows = [
        (label, {operator: _total(layers, field) for operator, layers in groups.items()})
        for label, field in _times(entry)
    ]
    title = f"Time by operator, {entry.name}"
    figure = charts.stacked(title, "milliseconds in the whole network", rows)
    table = Table(
        f"{title}, ms",
        ("operator", *(f">{label}" for label, _ in rows)),
        tuple((text(o), *(number(values[o]) for _, values in rows)) for o in groups),
        folded=True,
    )
    alt = "; ".join(f"{label} {rounded(sum(values.values()))} ms" for label, values in rows)
    return Plot(name, figure, f"{title}: {alt}.", table)


def _compiled(report: KernelsReport) -> tuple[Table, ...]:
    if not report.compiled:
        return ()
    names = list(dict.fromkeys(name for row in report.compiled for name in row))
    rows = tuple(tuple(_value(row.get(name)) for name in names) for row in report.compiled)
    columns = tuple(n if n == "name" else f">{n}" for n in names)
    caption = "What each compiled kernel takes; shared memory in bytes"
    return (Table(caption, columns, rows, folded=True),)


def _value(value: Value) -> Cell:
    if value is None or isinstance(value, (str, bool)):
        return text(value)
    return Cell(str(value), value)
