"""The command `lorair-export synth`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.exporter.commands.options import require
from lorair.runtime.system import console


def synth(
    preset: Annotated[
        str,
        typer.Option(help="Size of the networks: setting1 as the released model, tiny for tests."),
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for PRESET_ir.pth, PRESET_router.pth.")
    ] = Path(),
    as_json: console.JsonOption = False,
) -> None:
    """Write a pair of random weights in exactly the released format."""
    require("torch", "safetensors")
    from lorair.exporter.checkpoint.synth import draw_pair, write_pair
    from lorair.exporter.checkpoint.synth import preset as find_preset
    from lorair.runtime.system.atomic import check_writable

    check_writable(output / f"{preset}_ir.pth")
    with console.step(f"draw and write {preset} weights, seed {seed}"):
        ir, router = write_pair(draw_pair(find_preset(preset), seed), output, preset)
    if as_json:
        console.print_json({"ir": str(ir), "router": str(router)})
    else:
        for path in (ir, router):
            console.stdout().print(str(path), soft_wrap=True)
