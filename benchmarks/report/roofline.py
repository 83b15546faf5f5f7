"""The roofline plot: operations a second over operations a byte, under a device's two roofs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.palette import LIGHT, MARKERS, SERIES

if TYPE_CHECKING:
    from lorair.benchmarks.report.kernels import Device, Layer, Measured

_TERA = 1e12
_LINES = ("-", "--", ":")


def roofline(title: str, entries: "Sequence[Measured]") -> Figure:
    """Hollow markers lie where the floor is, full ones where a kernel was timed.

    Operators without products are left out: their intensity is 0.
    """
    operators = list(dict.fromkeys(x.operator for e in entries for x in e.layers if x.operations))
    height = 300 + 16 * (len(operators) // 2 + len(entries))
    figure, axes = charts.canvas(title, height, "operations a byte", "TFLOP/s")
    points = [(x.operations / x.bytes) for e in entries for x in e.layers if x.operations]
    low, high = min(points, default=1.0) / 2, max(points, default=1.0) * 2
    for i, entry in enumerate(entries):
        _roof(axes, entry.device, low, high, _LINES[i % len(_LINES)])
        for layer in entry.layers:
            if layer.operations:
                _points(axes, layer, operators.index(layer.operator))
    charts.log_axis(axes, "x", low, high)
    charts.log_axis(axes, "y", *axes.get_ylim())
    axes.grid(True)
    _legend(figure, operators, entries)
    return figure


def _roof(axes: Axes, device: "Device", low: float, high: float, line: str) -> None:
    ridge = device.rate / device.bandwidth
    xs = [low, ridge, high] if low < ridge < high else [low, high]
    ys = [min(x * device.bandwidth, device.rate) / _TERA for x in xs]
    axes.loglog(xs, ys, line, color=LIGHT["ink"], lw=1.3, zorder=1)
    # Under the slope, where no operator lies.
    name = charts.short(device.name)
    axes.annotate(name, (xs[0], ys[0]), (14, 2), textcoords="offset points", va="top", fontsize=10)


def _points(axes: Axes, layer: "Layer", operator: int) -> None:
    intensity = layer.operations / layer.bytes
    color, marker = SERIES[operator % len(SERIES)], MARKERS[operator % len(MARKERS)]
    for time, face in ((layer.floor_ms, LIGHT["paper"]), (layer.fused_ms, color)):
        if time:
            rate = layer.operations / (time * 1e-3) / _TERA
            axes.plot(intensity, rate, marker, mfc=face, mec=color, mew=1.3, ms=6)


def _legend(figure: Figure, operators: Sequence[str], entries: "Sequence[Measured]") -> None:
    handles = [
        Line2D([], [], ls="", marker=MARKERS[i % len(MARKERS)], mfc=LIGHT["paper"],
               mec=SERIES[i % len(SERIES)], mew=1.3, ms=6)
        for i in range(len(operators))
    ]  # fmt: skip
    labels = [charts.short(operator) for operator in operators]
    for i, entry in enumerate(entries):
        handles.append(Line2D([], [], color=LIGHT["ink"], ls=_LINES[i % len(_LINES)], lw=1.3))
        d = entry.device
        labels.append(
            f"{charts.short(d.name)}: {d.bandwidth / _TERA:.2f} TB/s, {d.rate / _TERA:.0f} TFLOP/s"
        )
    if any(layer.fused_ms for entry in entries for layer in entry.layers):
        handles.append(Line2D([], [], ls="", marker="o", color=LIGHT["muted"], ms=6))
        labels.append("full: timed; hollow: floor")
    charts.place_legend(figure, handles, labels, columns=1 if len(labels) < 5 else 2)
