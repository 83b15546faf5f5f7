"""The commands `lorair-export expert add`, `remove` and `list`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.exporter.commands import options
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.runtime.bundle.manifest import Manifest

_Bundle = Annotated[Path, options.bundle_argument("Bundle to read or change.")]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder of the new bundle.", show_default="the bundle is replaced"
    ),
]


def add_expert(
    path: _Bundle,
    ir_weights: Annotated[
        Path, typer.Option(help="File of a restoration network that has the new expert.")
    ],
    router_weights: Annotated[
        Path, typer.Option(help="File of the router that knows it, as its last class.")
    ],
    take: Annotated[str, typer.Option(metavar="NAME", help="Name of the expert to take.")],
    classes: options.ClassesOption = None,
    output: _Output = None,
    as_json: console.JsonOption = False,
) -> None:
    """Add an expert to a bundle, whose shared weights stay as they are."""
    _require()
    from lorair.exporter import experts

    place, names = _place(path, output), options.names_in(classes)
    bundle = Bundle.open(path)
    manifest = experts.add_expert(bundle, take, ir_weights, router_weights, place, names)
    _print(place, manifest, as_json=as_json)


def remove_expert(
    path: _Bundle,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the expert to remove.")],
    output: _Output = None,
    as_json: console.JsonOption = False,
) -> None:
    """Remove an expert from a bundle, and its class from the router."""
    _require()
    from lorair.exporter import experts

    place = _place(path, output)
    manifest = experts.remove_expert(Bundle.open(path), name, place)
    _print(place, manifest, as_json=as_json)


def list_experts(path: _Bundle, as_json: console.JsonOption = False) -> None:
    """List a bundle's experts with rank and sha256, and the sha256 of the shared weights."""
    _require()
    from lorair.exporter.experts import digests, read_parts

    parts = read_parts(Bundle.open(path))
    shared, own = digests(parts)
    rows = [
        {"name": name, "rank": rank, "sha256": digest}
        for (name, digest), rank in zip(own.items(), parts.ranks, strict=True)
    ]
    if as_json:
        console.print_json({"shared": shared, "experts": rows})
        return
    table = console.table("expert", ">rank", "sha256")
    for row in rows:
        table.add_row(str(row["name"]), str(row["rank"]), str(row["sha256"])[:16])
    table.add_row("shared weights", "", shared[:16])
    console.stdout().print(table)


def _require() -> None:
    options.require("torch", "onnx", "onnxscript", "onnxruntime", "safetensors")


def _place(path: Path, output: Path | None) -> Path:
    if output is None and path == SHIPPED_BUNDLE:
        raise OptionError(
            "--output", wanted="a folder for the new bundle", found="none; the package has the old"
        )
    return output or path


def _print(place: Path, manifest: "Manifest", *, as_json: bool) -> None:
    from lorair.exporter.commands.build import print_built

    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        print_built(place, manifest)
