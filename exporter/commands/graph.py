"""The commands `lorair-export graph` and `polygraphy`: a bundle's graphs for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lorair.exporter.commands import options
from lorair.runtime.system import console


def graph(
    path: Annotated[Path, options.bundle_argument("Bundle to take it from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    form: Annotated[
        Literal["plugin", "bodies"],
        typer.Option(
            help="Nodes for the plugins of `lorair-export plugin`, or standard operators alone."
        ),
    ] = "plugin",
    batch: Annotated[
        bool, typer.Option("--batch", help="Take several pictures at once, which share a route.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write the restorer as one ONNX file that TensorRT's own tools take."""
    options.require("onnx")
    from lorair.exporter.graphs.inlined import write_restorer
    from lorair.kernels.spec import DOMAIN
    from lorair.runtime.bundle.manifest import Bundle

    with console.step(f"write the graph in the form {form}"):
        model = write_restorer(Bundle.open(path), output, plugin=form == "plugin", batch=batch)
    nodes = sum(node.domain == DOMAIN for node in model.graph.node)
    size = output.stat().st_size
    if as_json:
        console.print_json({"path": str(output), "form": form, "plugins": nodes, "size": size})
    else:
        console.stdout().print(f"{output}", soft_wrap=True)
        console.stdout().print(f"  plugins  {nodes} of {len(model.graph.node)} nodes")
        console.stdout().print(f"  size     {size / 1e6:.1f} MB")


def polygraphy(
    path: Annotated[Path, options.bundle_argument("Bundle to take them from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    images: options.ImagesOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write a folder for Polygraphy's command line: graphs, real inputs, scripts, a README."""
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
