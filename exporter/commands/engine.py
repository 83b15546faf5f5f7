"""The command `lorair-export engine`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lorair.exporter.commands.options import require
from lorair.exporter.engines import AUTO, TIMEOUT
from lorair.runtime.system import console


def engine(
    bundle: Annotated[Path, typer.Argument(help="Bundle that the engines are added to.")],
    flavour: Annotated[
        str, typer.Option(help="Library: tensorrt-rtx, tensorrt, or auto for the first installed.")
    ] = AUTO,
    minimum: Annotated[
        str | None,
        typer.Option(
            "--min", metavar="HxW", help="Smallest picture or tile.", show_default="the stride"
        ),
    ] = None,
    optimum: Annotated[
        str | None,
        typer.Option(
            "--opt", metavar="HxW", help="Size that is the fastest.", show_default="512x512"
        ),
    ] = None,
    maximum: Annotated[
        str | None,
        typer.Option(
            "--max", metavar="HxW", help="Largest picture or tile.", show_default="1024x1024"
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1, help="Largest number of pictures at once, which share a route; the fastest."
        ),
    ] = 1,
    sms: Annotated[
        list[int] | None,
        typer.Option(
            "--sm",
            metavar="86",
            help="Compute capability to build for, TensorRT-RTX only. Repeat it for several.",
            show_default="RTX cards from Ampere on",
        ),
    ] = None,
    routes: Annotated[
        Literal["each", "any"] | None,
        typer.Option(
            help="One restorer of constant weights for each expert, the fastest, or one for any "
            "mixture. Both can be in a bundle.",
            show_default="each, or any with --plugin or a top_k above 1",
        ),
    ] = None,
    plugin: Annotated[
        bool,
        typer.Option(
            "--plugin/--no-plugin",
            help="Launch the bundle's compiled kernels from the restorer's engine; TensorRT only, "
            "not yet run on a GPU.",
        ),
    ] = False,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of earlier builds' timings, which is read and updated; TensorRT only.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that each build may take.")
    ] = TIMEOUT,
    as_json: console.JsonOption = False,
) -> None:
    """Build TensorRT-RTX or TensorRT engines of both branches into BUNDLE/engines."""
    require("onnx", "filelock")
    from lorair.exporter.commands.inspect import print_engines
    from lorair.exporter.engines.build import build_engines
    from lorair.exporter.engines.sizes import Size, Sizes
    from lorair.runtime.bundle.manifest import Bundle

    options = {"min": minimum, "opt": optimum, "max": maximum}
    given = {name: Size.parse(f"--{name}", text) for name, text in options.items() if text}
    opened = Bundle.open(bundle)
    built = build_engines(
        opened,
        flavour=flavour,
        sizes=Sizes(**given, batch=batch),
        sms=tuple(sms or ()),
        routes=routes,
        plugin=plugin,
        timing_cache=timing_cache,
        timeout=timeout,
    )
    if as_json:
        console.print_json([one.to_dict() for one in built])
    else:
        print_engines(built, opened.manifest.model.classes)
