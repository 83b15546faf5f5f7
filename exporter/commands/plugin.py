"""The command `lorair-export plugin`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.exporter.commands.options import bundle_argument, require
from lorair.runtime.system import console


def plugin(
    path: Annotated[Path, bundle_argument("Bundle with compiled kernels, which gets the library.")],
    sms: Annotated[
        list[int] | None,
        typer.Option(
            "--sm",
            metavar="90",
            help="Compute capability whose kernels go in. Repeat it for several.",
            show_default="all of the bundle",
        ),
    ] = None,
    tensorrt: Annotated[
        int | None,
        typer.Option(
            metavar="10",
            help="Major version of TensorRT that loads the library.",
            show_default="that of the headers found",
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Compile the fused kernels into BUNDLE/plugins, a library that TensorRT loads by itself."""
    require("filelock")
    from lorair.exporter.engines.plugin import build_plugin
    from lorair.runtime.bundle.manifest import Bundle

    built = build_plugin(Bundle.open(path), major=tensorrt, sms=tuple(sms or ()))
    if as_json:
        console.print_json(built.to_dict())
        return
    out, depends = console.stdout(), built.record.depends
    cards = ", ".join(f"{sm // 10}.{sm % 10}" for sm in depends.sms)
    out.print(f"{built.path}", soft_wrap=True)
    out.print(f"  for      TensorRT {depends.headers.partition('.')[0]}, headers {depends.headers}")
    out.print(f"  kernels  {depends.kernels[:16]}, compute capability {cards}; PTX for later ones")
    out.print(f"  size     {built.record.size / 1e6:.1f} MB")
    if not built.fresh:
        out.print("  built    already there: nothing to do")
