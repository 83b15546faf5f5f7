"""The command `lorair-bench kernels`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime.errors import OptionError
from lorair.runtime.system import console
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import is_installed

if TYPE_CHECKING:
    from lorair.benchmarks.schema import KernelsReport
    from lorair.exporter.model.config import ModelConfig

_SIZES = ["256x256", "512x512", "1080x1920"]


def kernels(
    preset: Annotated[
        str, typer.Option(help="The network's shape: setting1 or tiny.")
    ] = "setting1",
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="HxW", help=f"Repeat for several. {_SIZES}"),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Each fused operator at a network's shapes: bytes, operations, floor, and measured time.

    Without a GPU it gives the floors of known ones and compiles the kernels; it times nothing.
    """
    if report is not None:
        console.check_report(report, [])
    shapes = [_size(text) for text in sizes or _SIZES]
    require("measure kernels", "export,kernels", "torch")
    import torch

    from lorair.benchmarks.schema import KernelsReport
    from lorair.benchmarks.schema.environment import command_line, describe, now
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.exporter.checkpoint.synth import preset as find_preset

    config = find_preset(preset)
    timed = torch.cuda.is_available()
    start = KernelsReport(
        command=command_line(),
        date=now(),
        environment=describe(),
        preset=preset,
        dtype="fp16",
        timed=timed,
        sizes=(),
        compiled=None,
    )
    measured: list[dict[str, Any]] = []
    compiled: list[dict[str, Any]] = []
    with kept(report, lambda complete: _filled(start, measured, compiled, complete)):
        if timed:
            measured.extend(_timed(config, shapes))
        else:
            measured.extend(_not_timed(config, shapes))
            compiled.extend(_compile(config) if is_installed("triton") else [])
    document = to_json(_filled(start, measured, compiled))
    if as_json:
        console.print_json(document)
    else:
        _print(document)


def _filled(
    document: "KernelsReport",
    sizes: list[dict[str, Any]],
    compiled: list[dict[str, Any]],
    complete: bool = True,
) -> "KernelsReport":
    from lorair.benchmarks.schema import KernelSize

    update = {
        "complete": complete,
        "sizes": tuple(KernelSize.model_validate(size) for size in sizes),
        "compiled": tuple(compiled) or None,
    }
    return document.model_copy(update=update)


def _timed(config: "ModelConfig", shapes: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    from dataclasses import asdict

    from rich.progress import track

    from lorair.benchmarks.kernels.floors import layers, row
    from lorair.benchmarks.kernels.timing import measure_device, time_layer, time_network

    device = measure_device()
    experts = config.restoration.num_experts
    for height, width in shapes:
        found = layers(config.restoration, height, width)
        rows = [
            row(layer, device, time_layer(layer, experts))
            for layer in track(found, f"{height}x{width}", console=console.stderr())
        ]
        stride = config.restoration.stride
        padded = height + -height % stride, width + -width % stride
        network = time_network(config.restoration, *padded)
        yield {"size": [height, width], "device": asdict(device), "layers": rows,
               "network_ms": network}  # fmt: skip


def _not_timed(config: "ModelConfig", shapes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from lorair.benchmarks.kernels.floors import KNOWN_DEVICES, layers, row

    return [
        {
            "size": [height, width],
            "device": asdict(device),
            "layers": [row(x, device, None) for x in layers(config.restoration, height, width)],
        }
        for height, width in shapes
        for device in KNOWN_DEVICES
    ]


def _compile(config: "ModelConfig") -> list[dict[str, Any]]:
    """Every kernel for the first of the known devices: what it takes of a multiprocessor."""
    from tempfile import TemporaryDirectory

    from rich.progress import Progress

    from lorair.kernels.aot import compile_kernels

    r = config.restoration
    with TemporaryDirectory() as folder, Progress(console=console.stderr()) as progress:
        task = progress.add_task("compiling for sm_90", total=None)
        compiled = compile_kernels(
            r.num_experts, r.r, "fp16", [90], Path(folder),
            lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    return [
        {"name": c.name, "sm": c.sm, "threads": c.block[0], "registers": c.registers,
         "spilled": c.spilled, "shared": c.shared}
        for c in compiled
        if c.format == "cubin"
    ]  # fmt: skip


def _print(document: dict[str, Any]) -> None:
    out = console.stdout()
    for entry in document["sizes"]:
        out.print(_layer_table(entry))
        _print_totals(entry)
    if document["compiled"] is not None:
        out.print(_compiled_table(document["compiled"]))
    if not document["timed"]:
        compiled = "" if document["compiled"] else " Nor compiled: triton is not installed."
        out.print(f"No GPU here: nothing was timed.{compiled}")


def _layer_table(entry: dict[str, Any]) -> Any:
    device = entry["device"]
    height, width = entry["size"]
    title = (
        f"{height}x{width}, fp16, {device['name']}: {device['bandwidth'] / 1e12:.2f} TB/s, "
        f"{device['rate'] / 1e12:.0f} TFLOP/s"
    )
    timed = "fused_ms" in entry["layers"][0]
    columns = [
        "operator",
        ">count",
        ">channels",
        ">plane",
        ">MB",
        ">GFLOP",
        ">floor µs",
        "bound by",
    ]
    if timed:
        columns += [">µs", ">of floor", ">unfused µs", ">merged µs"]
    rows = console.table(*columns, title=title)
    for line in entry["layers"]:
        cells = [
            line["operator"], str(line["count"]), f"{line['inputs']}>{line['outputs']}",
            f"{line['height']}x{line['width']}", f"{line['bytes'] / 1e6:.2f}",
            f"{line['operations'] / 1e9:.2f}", f"{line['floor_ms'] * 1e3:.1f}", line["bound_by"],
        ]  # fmt: skip
        if timed:
            cells += [
                f"{line['fused_ms'] * 1e3:.1f}", f"{line['of_floor']:.0%}",
                f"{line['unfused_ms'] * 1e3:.1f}", f"{line['merged_ms'] * 1e3:.1f}",
            ]  # fmt: skip
        rows.add_row(*cells)
    return rows


def _print_totals(entry: dict[str, Any]) -> None:
    from lorair.benchmarks.kernels.floors import total

    out = console.stdout()
    names = [
        n for n in ("floor_ms", "fused_ms", "unfused_ms", "merged_ms") if n in entry["layers"][0]
    ]
    sums = ", ".join(f"{n.removesuffix('_ms')} {total(entry['layers'], n):.2f} ms" for n in names)
    out.print(f"all layers: {sums}", highlight=False)
    if network := entry.get("network_ms"):
        parts = ", ".join(f"{name} {value:.2f} ms" for name, value in network.items())
        out.print(f"network as one CUDA graph: {parts}", highlight=False)


def _compiled_table(compiled: list[dict[str, Any]]) -> Any:
    rows = console.table("kernel", ">threads", ">registers", ">spilled", ">shared KiB",
                         title="compiled for sm_90")  # fmt: skip
    for line in compiled:
        rows.add_row(
            line["name"], str(line["threads"]), str(line["registers"]), str(line["spilled"]),
            f"{line['shared'] / 1024:.1f}",
        )  # fmt: skip
    return rows


def _size(text: str) -> tuple[int, int]:
    digits = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text.lower())
    if digits is None:
        raise OptionError(
            "--size", wanted="height x width", found=repr(text), hint="for example 512x512"
        )
    return int(digits[1]), int(digits[2])
