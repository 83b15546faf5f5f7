"""Checkpoint to bundle: export both branches, verify them, write the folder."""

from collections.abc import Sequence
from pathlib import Path

from lorair.exporter import photos
from lorair.exporter.checkpoint import Pair
from lorair.exporter.config import ModelConfig
from lorair.exporter.onnx_export import export_restorer, export_router
from lorair.exporter.verify import Limits, certify, make_references
from lorair.runtime.atomic import atomic_folder, check_writable
from lorair.runtime.backends import select
from lorair.runtime.bundle import (
    RESTORER,
    ROUTER,
    Bundle,
    Manifest,
    ModelInfo,
    Precision,
    Source,
    is_bundle,
    list_files,
    write_manifest,
)
from lorair.runtime.console import lorair_version, step
from lorair.runtime.errors import OutputError


def check_output(path: Path) -> None:
    """Raise OutputError unless `path` is free, an empty folder, or a bundle to replace."""
    check_writable(path)
    if path.is_dir() and (is_bundle(path) or not any(path.iterdir())):
        return
    if path.exists():
        raise OutputError(
            f"cannot write the bundle {path}",
            wanted="a new or empty folder, or a bundle to replace",
            found="a file" if path.is_file() else "a folder with other things in it",
            hint="choose another place with -o",
        )


def build_bundle(
    pair: Pair,
    source: Source,
    output: Path,
    *,
    precision: Precision = "fp32",
    limits: Limits | None = None,
    photographs: Sequence[Path] | None = None,
) -> Manifest:
    """Export, verify and write a bundle; on any error nothing is left behind.

    Args:
        pair: the weights of both branches.
        source: where they came from, for the manifest.
        output: the bundle's folder; an older bundle there is replaced.
        precision: of weights and activations.
        limits: of the parity certificate; None for the defaults.
        photographs: to verify on; None for the shipped ones.

    Raises:
        OutputError: `output` cannot be written.
        VerificationError: the exported network is not within the limits.
    """
    check_output(output)
    config = pair.config
    with atomic_folder(output) as folder:
        with step("reference pictures in PyTorch"):
            router, net = pair.modules()
            references = make_references(
                router, net, photographs or photos.paths(), config.router.side
            )
        if precision == "fp16":
            router.half()
            net.half()
        with step(f"export {ROUTER} ({precision})"):
            export_router(router, config.router, folder / ROUTER)
        del router
        with step(f"export {RESTORER} ({precision})"):
            export_restorer(net, config.restoration, folder / RESTORER)
        del net
        manifest = Manifest(
            created_by=f"lorair {lorair_version()}",
            precision=precision,
            model=_model_info(config),
            files=list_files(folder),
            source=source,
        )
        with step(f"verify on {len(references)} photographs"):
            certificate = certify(
                select("onnxruntime", Bundle(folder, manifest)),
                references,
                config.router.side,
                config.restoration.stride,
                precision,
                limits or Limits(),
            )
        manifest = manifest.model_copy(update={"certificate": certificate})
        write_manifest(folder, manifest)
        return Bundle.open(folder).manifest


def _model_info(config: ModelConfig) -> ModelInfo:
    parts = config.to_dict()
    return ModelInfo(
        classes=config.classes,
        experts=config.restoration.num_experts,
        top_k=config.top_k,
        clip_side=config.router.side,
        stride=config.restoration.stride,
        prior=config.restoration.prior,
        restoration=parts["restoration"],
        router=parts["router"],
    )
