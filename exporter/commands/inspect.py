"""The command `lorair-export inspect`, which needs no PyTorch for a bundle."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.exporter.commands.options import bundle_argument, require
from lorair.runtime.bundle.engines import read_engines
from lorair.runtime.bundle.files import ENGINES
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.exporter.engines.build import BuiltEngine


def inspect(
    path: Annotated[
        Path, bundle_argument("A bundle, or a .pth or .safetensors file.", metavar="PATH")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the sha256 of every file of a bundle.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Show what is in a bundle or a checkpoint."""
    if path.is_file():
        require("torch", "safetensors")
        description = describe_checkpoint(path)
        if as_json:
            console.print_json(description)
        else:
            print_checkpoint(description)
        return
    bundle = Bundle.open(path)
    if verify:
        with console.step(f"hash {len(bundle.manifest.files)} files"):
            bundle.verify()
    if as_json:
        console.print_json(bundle.manifest.model_dump(mode="json"))
    else:
        print_bundle(bundle)


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Return branch, configuration, and the tensors' number, values, types and shapes."""
    from lorair.exporter.checkpoint.checkpoint import check_tensors, infer_restoration, infer_router
    from lorair.exporter.checkpoint.weights_file import read_tensors
    from lorair.exporter.model import RestorationNet, Router

    tensors = read_tensors(path)
    config: Any
    if "cls_head.weight" in tensors:
        branch, config = "router", infer_router(tensors, path)
        check_tensors(Router, tensors, path, config, 1)
    else:
        branch, config = "restoration", infer_restoration(tensors, path)
        check_tensors(RestorationNet, tensors, path, config)
    types = Counter(str(t.dtype).removeprefix("torch.") for t in tensors.values())
    return {
        "path": str(path),
        "branch": branch,
        "config": asdict(config),
        "tensors": len(tensors),
        "values": sum(t.numel() for t in tensors.values()),
        "types": dict(types),
        "shapes": {name: list(t.shape) for name, t in tensors.items()},
    }


def print_checkpoint(description: dict[str, Any]) -> None:
    """Print the description as a table, without the single tensors."""
    rows = {
        "branch": description["branch"],
        **description["config"],
        "tensors": description["tensors"],
        "values": f"{description['values'] / 1e6:.2f} M",
        "types": ", ".join(f"{k} ({n})" for k, n in description["types"].items()),
    }
    _print_rows(description["path"], rows)


def print_bundle(bundle: Bundle) -> None:
    """Print the manifest and the engines as tables."""
    manifest = bundle.manifest
    model = manifest.model
    rows: dict[str, Any] = {
        "made by": manifest.created_by,
        "precision": manifest.precisions,
        "classes": ", ".join(model.classes),
        "top_k": f"{model.top_k} of {model.experts}",
        "weights from": manifest.source.detail,
        **{f"restoration {k}": v for k, v in model.restoration.items()},
        **{f"router {k}": v for k, v in model.router.items()},
    }
    _print_rows(str(bundle.path), rows)
    files = console.table("file", ">size", "sha256")
    for name, info in manifest.files.items():
        files.add_row(name, f"{info.size / 1e6:.2f} MB", info.sha256[:16])
    console.stdout().print(files)
    _print_engines_in(bundle)
    certificate = manifest.certificate
    if certificate is None:
        console.stdout().print("not verified")
        return
    parity = console.table("picture", ">size", ">largest error", ">PSNR", "route")
    for p in certificate.pictures:
        parity.add_row(
            p.name,
            f"{p.width}x{p.height}",
            f"{p.restored_error:.1e}",
            f"{p.psnr_db:.1f} dB",
            "changed" if p.route_changed else "same",
        )
    console.stdout().print(f"{certificate.backend} against {certificate.reference}")
    console.stdout().print(parity)
    if certificate.routes is not None:
        console.stdout().print(f"routes {certificate.routes.summary()}")


def _print_engines_in(bundle: Bundle) -> None:
    out = console.stdout()
    for engine in read_engines(bundle):
        record = engine.record
        out.print(f"{ENGINES}/{engine.path.name}", soft_wrap=True)
        if record is None:
            out.print(f"  {engine.error}", soft_wrap=True)
        else:
            out.print(f"  for {record.depends.serves(bundle.manifest.model.classes)}")
            out.print(f"  needs {record.depends.needs}", soft_wrap=True)


def print_engines(engines: "list[BuiltEngine]", classes: tuple[str, ...]) -> None:
    """Print what was built, or was there already, for what, and in which types it computes."""
    out = console.stdout()
    for engine in engines:
        record = engine.record
        peak = f", peak memory {record.peak_memory / 1e9:.1f} GB" if record.peak_memory else ""
        built = f"built in {record.seconds:.1f} s{peak}"
        out.print(f"{engine.path}", soft_wrap=True)
        out.print(f"  serves     {record.depends.serves(classes)}")
        out.print(f"  needs      {record.depends.needs}", soft_wrap=True)
        out.print(f"  products   {record.proof.summary()}", soft_wrap=True)
        out.print(f"  size       {record.size / 1e6:.1f} MB")
        out.print(f"  built      {built if engine.fresh else 'already there: nothing to do'}")


def _print_rows(title: str, rows: dict[str, Any]) -> None:
    out = console.table("", "", title=title)
    out.show_header = False
    for key, value in rows.items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        out.add_row(key, text)
    console.stdout().print(out)
