"""The command `lorair-export triton`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.exporter.commands.options import bundle_argument, require
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console


def triton(
    bundle: Annotated[Path, bundle_argument("Bundle that the server runs.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the model repository; may hold others."),
    ],
    backend: Annotated[
        str,
        typer.Option(help="What runs router and restorer: onnxruntime, or tensorrt with engines."),
    ] = "onnxruntime",
    name: Annotated[
        str, typer.Option(help="Name of the ensemble, with which its models' names begin.")
    ] = "lorair",
    force: Annotated[bool, typer.Option("--force", help="Replace models of these names.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write a model repository for NVIDIA's Triton Inference Server."""
    require("onnx", "onnxscript")
    from lorair.exporter.triton_server.repository import BACKENDS, parts, write
    from lorair.runtime.bundle.manifest import Bundle

    chosen = next((known for known in BACKENDS if known == backend), None)
    if chosen is None:
        raise OptionError("--backend", wanted=" or ".join(BACKENDS), found=backend)
    folders = write(parts(Bundle.open(bundle), name, chosen), output, force=force)
    if as_json:
        console.print_json({"repository": str(output), "models": [f.name for f in folders]})
        return
    for folder in folders:
        console.stdout().print(str(folder), soft_wrap=True)
