"""The command `lorair-bench kernels`."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from lorair.benchmarks.commands.options import PresetOption, ReportOption, SizesOption, parse_sizes
from lorair.runtime.system import console
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import is_installed

if TYPE_CHECKING:
    from lorair.benchmarks.schema.costs import KernelSize
    from lorair.exporter.engines.sizes import Size
    from lorair.exporter.model.config import RestorationConfig

_SIZES: Final = ["256x256", "512x512", "1080x1920"]


def kernels(
    preset: PresetOption = "setting1",
    sizes: SizesOption = _SIZES,
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:  # fmt: skip
    """Measure each fused operator of a network: bytes, operations, floor and time.

    Without a GPU nothing is timed: the floors are those of known GPUs, and the kernels are
    compiled where Triton is installed.
    """
    console.check_outputs([report] if report else [], [])
    shapes = parse_sizes(sizes)
    require("measure kernels", "export,kernels", "torch")
    import torch

    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.schema.costs import KernelsReport
    from lorair.benchmarks.tables.costs import kernels_shown
    from lorair.exporter.checkpoint.synth import preset as find_preset

    config, timed = find_preset(preset).restoration, torch.cuda.is_available()
    measured: dict[str, Any] = {"sizes": (), "compiled": None}
    with result(
        KernelsReport, lambda: measured, kernels_shown, report, as_json, preset=preset,
        dtype="fp16", timed=timed,
    ):  # fmt: skip
        for entry in _measure(config, shapes, timed):
            measured["sizes"] += (entry,)
        if not timed and is_installed("triton"):
            measured["compiled"] = tuple(_compile(config))


def _measure(
    config: "RestorationConfig", shapes: "Sequence[Size]", timed: bool
) -> "Iterator[KernelSize]":
    """Each size on this machine's GPU, or computed for each of the known ones."""
    from rich.progress import track

    from lorair.benchmarks.kernels.floors import KNOWN_DEVICES, layers, row
    from lorair.benchmarks.kernels.timing import measure_device, time_layer, time_network
    from lorair.benchmarks.schema.costs import KernelSize

    devices = [measure_device()] if timed else KNOWN_DEVICES
    for size, device in product(shapes, devices):
        found = layers(config, size.height, size.width)
        rows = [
            row(layer, device, **(time_layer(layer, config.num_experts) if timed else {}))
            for layer in track(found, str(size), console=console.stderr(), disable=not timed)
        ]
        padded = (side + -side % config.stride for side in (size.height, size.width))
        network = time_network(config, *padded) if timed else None
        shape = size.height, size.width
        yield KernelSize(size=shape, device=device, layers=tuple(rows), network_ms=network)


def _compile(config: "RestorationConfig") -> list[dict[str, Any]]:
    """Every kernel for the first of the known devices: what it takes of a multiprocessor."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from lorair.kernels.aot import compile_kernels

    with TemporaryDirectory() as folder, console.bar("compile for sm_90") as shown:
        compiled = compile_kernels(
            config.num_experts, config.r, "fp16", [90], Path(folder),
            lambda done, total: shown(done / total, ""),
        )  # fmt: skip
    return [
        {"name": c.name, "sm": c.sm, "threads": c.block[0], "registers": c.registers,
         "spilled": c.spilled, "shared": c.shared}
        for c in compiled
        if c.format == "cubin"
    ]  # fmt: skip
