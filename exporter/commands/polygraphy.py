"""The command `lorair-export polygraphy`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.exporter.commands import options
from lorair.runtime.bundle import bundle_folder
from lorair.runtime.system import console


def polygraphy(
    path: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", parser=bundle_folder, help="Bundle to take them from."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    images: options.ImagesOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write a folder for Polygraphy's commands: graphs, real inputs, units, a README."""
    options.require("onnx", "onnxruntime")
    from lorair.exporter import photos
    from lorair.exporter.polygraphy.folder import write
    from lorair.runtime.bundle.manifest import Bundle

    pictures = options.pictures_in(images) if images is not None else photos.paths()
    write(Bundle.open(path), output, pictures)
    if as_json:
        files = sorted(str(f.relative_to(output)) for f in output.rglob("*") if f.is_file())
        console.print_json({"path": str(output), "files": files})
    else:
        console.stdout().print(f"{output}: README.md has the commands", soft_wrap=True)
