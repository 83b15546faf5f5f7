"""The sections and plots of kernel results: floors, times, and the roofline."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lorair.benchmarks.report import charts, draw
from lorair.benchmarks.report.content import Plot, Section, Source, file_section
from lorair.benchmarks.report.draw import LIGHT, SERIES
from lorair.benchmarks.schema.costs import Device, KernelSize, KernelsReport, LayerRow
from lorair.benchmarks.tables import costs
from lorair.benchmarks.tables.cells import number, text
from lorair.runtime.system.table import Table

_TERA: Final = 1e12
_LINES: Final = ("-", "--", ":")


def section(source: Source[KernelsReport]) -> Section:
    """Return everything of a kernel result."""
    report = source.report
    parts = [
        _size(source, [entry for entry in report.sizes if entry.size == size])
        for size in dict.fromkeys(entry.size for entry in report.sizes)
    ]
    return file_section(
        source, [f"{report.preset}, {report.dtype}"], [costs.NOT_TIMED] * (not report.timed),
        tables=list(costs.compiled(report)), parts=parts,
        summary=[costs.operators(entry) for entry in report.sizes],
    )  # fmt: skip


def _size(source: Source[KernelsReport], entries: Sequence[KernelSize]) -> Section:
    size = "x".join(map(str, entries[0].size))
    anchor = f"{source.anchor}_{size}"
    drawn = [_roofline(anchor, f"Roofline, {size}", source.report.timed, entries)]
    drawn += [_operators(f"{anchor}_operators-{i}", entry) for i, entry in enumerate(entries)]
    tables = [make(entry) for make in (costs.operators, costs.layers) for entry in entries]
    network = [line for entry in entries for line in costs.network(entry)]
    return Section(anchor, f"{size} pixels", remarks=network, tables=tables, plots=drawn)


def _operators(name: str, entry: KernelSize) -> Plot:
    """Where the time of the network goes, by kind of time."""
    groups = costs.by_operator(entry)
    rows = {
        label: {operator: some.total(field) for operator, some in groups.items()}
        for label, field in costs.times(entry).items()
    }
    title, unit = f"Time by operator, {entry.name}", charts.Unit("milliseconds")
    return charts.stacked(name, title, unit, rows, " in the whole network")


def _roofline(anchor: str, title: str, timed: bool, entries: Sequence[KernelSize]) -> Plot:
    heading = title + ("" if timed else ": computed, not timed")
    devices = "; ".join(
        f"{_device(e.device)}, {sum(x.bound_by == 'memory' for x in e.layers)} of "
        f"{len(e.layers)} operators bound by memory"
        for e in entries
    )
    rows = tuple(
        (
            text(e.device.name), text(x.operator), costs.channels(x),
            number(x.operations / x.bytes), number(_rate(x, x.floor_ms)),
            number(_rate(x, x.fused_ms)),
        )
        for e in entries
        for x in e.layers
    )  # fmt: skip
    columns = ("device", "operator", ">channels", ">FLOP a byte", ">TFLOP/s at the floor",
               ">TFLOP/s measured")  # fmt: skip
    table = Table(title, columns, rows, folded=True)
    return Plot(f"{anchor}_roofline", _draw(heading, entries), f"{heading}. {devices}.", table)


def _device(device: Device) -> str:
    bandwidth, rate = device.bandwidth / _TERA, device.rate / _TERA
    return f"{device.name}: {bandwidth:.2f} TB/s, {rate:.0f} TFLOP/s"


def _rate(layer: LayerRow, milliseconds: float | None) -> float | None:
    """Tera-operations a second, if the time is known."""
    return layer.operations / (milliseconds * 1e-3) / _TERA if milliseconds else None


def _draw(title: str, entries: Sequence[KernelSize]) -> Figure:
    """Operations a second over operations a byte, under the two roofs of each device.

    Hollow markers lie at the floor, full ones where a kernel was timed. Operators without
    products are left out: their intensity is 0.
    """
    operators = list(dict.fromkeys(x.operator for e in entries for x in e.layers if x.operations))
    height = 300 + 16 * (len(operators) // 2 + len(entries))
    figure, axes = draw.canvas(title, height, "operations a byte", "TFLOP/s")
    points = [(x.operations / x.bytes) for e in entries for x in e.layers if x.operations]
    low, high = min(points, default=1.0) / 2, max(points, default=1.0) * 2
    for i, entry in enumerate(entries):
        _roof(axes, entry.device, low, high, _LINES[i % len(_LINES)])
        for layer in entry.layers:
            if layer.operations:
                _points(axes, layer, operators.index(layer.operator))
    draw.log_axis(axes, "x", low, high)
    draw.log_axis(axes, "y", *axes.get_ylim())
    axes.grid(True)
    _legend(figure, operators, entries)
    return figure


def _roof(axes: Axes, device: Device, low: float, high: float, line: str) -> None:
    ridge = device.rate / device.bandwidth
    xs = [low, ridge, high] if low < ridge < high else [low, high]
    ys = [min(x * device.bandwidth, device.rate) / _TERA for x in xs]
    axes.loglog(xs, ys, line, color=LIGHT["ink"], lw=1.3, zorder=1)
    # Under the slope, where no operator lies.
    name = draw.short(device.name)
    axes.annotate(name, (xs[0], ys[0]), (14, 2), textcoords="offset points", va="top", fontsize=10)


def _points(axes: Axes, layer: LayerRow, operator: int) -> None:
    color, marker = SERIES[operator % len(SERIES)]
    for time, face in ((layer.floor_ms, LIGHT["paper"]), (layer.fused_ms, color)):
        if rate := _rate(layer, time):
            axes.plot(layer.operations / layer.bytes, rate, marker, mfc=face, mec=color, mew=1.3,
                      ms=6)  # fmt: skip


def _legend(figure: Figure, operators: Sequence[str], entries: Sequence[KernelSize]) -> None:
    series = [SERIES[i % len(SERIES)] for i in range(len(operators))]
    handles = [draw.dot(marker, color, LIGHT["paper"], mew=1.3, ms=6) for color, marker in series]
    handles += [
        Line2D([], [], color=LIGHT["ink"], ls=_LINES[i % len(_LINES)], lw=1.3)
        for i in range(len(entries))
    ]
    labels = [draw.short(o) for o in operators] + [_device(e.device) for e in entries]
    if any(layer.fused_ms for entry in entries for layer in entry.layers):
        handles.append(draw.dot("o", LIGHT["muted"], ms=6))
        labels.append("full: timed; hollow: floor")
    draw.place_legend(figure, handles, labels, columns=1 if len(labels) < 5 else 2)
