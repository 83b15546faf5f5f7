"""The command `lorair-export merge`."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.exporter.commands import options
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.exporter.merge import Experts
    from lorair.runtime.pixels import Array


def merge(
    path: Annotated[
        Path,
        options.bundle_argument(
            "Bundle, or the restoration network's .pth or .safetensors file.", metavar="SOURCE"
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    expert: Annotated[
        str | None, typer.Option(help="Merge this expert alone.", show_default="the route's")
    ] = None,
    gates: Annotated[
        str | None,
        typer.Option(
            help="Merge a mixture, such as rain=0.7,snow=0.3.", show_default="the route's"
        ),
    ] = None,
    route: Annotated[
        Path | None,
        typer.Option(
            help="File of `lorair-run route`, whose prior becomes constant too: the picture is "
            "then the only input. Its gates count unless --expert or --gates is given."
        ),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Pad and crop inside, so that any size is taken.")
    ] = False,
    clamp: Annotated[
        bool, typer.Option("--clamp/--no-clamp", help="Keep the result within 0 and 1.")
    ] = True,
    fp16: Annotated[
        bool,
        typer.Option("--fp16", help="Precision of a file's weights; a bundle has its own already."),
    ] = False,
    classes: options.ClassesOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Write one plain ONNX network for one expert or mixture, for other programs to run."""
    options.require("onnx", "onnxruntime")
    from lorair.exporter import merge as merging

    names = options.names_in(classes)
    chosen: AbstractContextManager[Experts]
    if path.is_file():
        options.require("torch", "onnxscript", "safetensors")
        if route is not None:
            raise OptionError(
                "--route", wanted="a bundle, whose router made it", found=f"the file {path}"
            )
        chosen = merging.experts_of_checkpoint(path, names, fp16=fp16)
    else:
        if fp16 or names is not None:
            raise OptionError(
                "--fp16" if fp16 else "--classes",
                wanted="a file of weights",
                found=f"{path}, which has its own",
                hint="leave it out; `lorair-export build --fp16` makes a bundle of that precision",
            )
        chosen = nullcontext(merging.experts_of(Bundle.open(path)))
    with console.step(f"merge {path.name}"), chosen as experts:
        shares, prior = _guidance(path, experts.classes, expert, gates, route)
        model = merging.merge(
            experts, shares, output, prior=prior, any_size=any_size, clamped=clamp
        )
    inputs = [value.name for value in model.graph.input]
    size = output.stat().st_size
    if as_json:
        props = {p.key: p.value for p in model.metadata_props}
        console.print_json({"path": str(output), "inputs": inputs, "size": size, **props})
    else:
        console.stdout().print(f"{output}", soft_wrap=True)
        console.stdout().print(f"  inputs  {', '.join(inputs)}")
        console.stdout().print(f"  size    {size / 1e6:.1f} MB")


def _guidance(
    path: Path, classes: tuple[str, ...], expert: str | None, gates: str | None, route: Path | None
) -> "tuple[Array, Array | None]":
    """The gates, and the prior if a route is given."""
    from lorair.runtime.routing.file import load
    from lorair.runtime.routing.gates import chosen_gates

    chosen = chosen_gates(expert, gates, classes)
    if route is not None:
        loaded = load(route, Bundle.open(path))
        return loaded.gates if chosen is None else chosen, loaded.prior
    if chosen is None:
        raise OptionError(
            "merge",
            wanted="--expert, --gates or --route",
            found="none of them",
            hint=f"the experts are {', '.join(classes)}",
        )
    return chosen, None
