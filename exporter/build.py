"""Checkpoint to bundle: export both branches, verify them, write the folder."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lorair.exporter import photos
from lorair.exporter.checkpoint.checkpoint import Modules, Pair
from lorair.exporter.graphs.metadata import facts, write_facts
from lorair.exporter.graphs.onnx_export import (
    BOUND_TARGETS,
    export_restorer,
    export_router,
    write_bound,
)
from lorair.exporter.graphs.quantize import quantize_router, write_dequantized
from lorair.exporter.graphs.tiled_graph import write_tiled
from lorair.exporter.model.config import ModelConfig
from lorair.exporter.model.fold import fold
from lorair.exporter.verify import ROUTE_CHECKS
from lorair.exporter.verify.certificate import certify, check_routes, make_references
from lorair.exporter.verify.compare import Limits, Reference
from lorair.exporter.verify.probes import probe
from lorair.kernels.aot import compile_kernels
from lorair.runtime.backends import select
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import (
    KERNELS,
    RESTORER,
    ROUTER,
    Bundle,
    Manifest,
    ModelInfo,
    Precision,
    Source,
    is_bundle,
    restorer_name,
    router_name,
    write_manifest,
)
from lorair.runtime.errors import OutputError
from lorair.runtime.system.atomic import atomic_folder, check_writable
from lorair.runtime.system.console import counted, lorair_version, progress, step


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
    router_int8: bool = False,
    route_checks: int = ROUTE_CHECKS,
    sms: Sequence[int] = (),
    limits: Limits | None = None,
    photographs: Sequence[Path] | None = None,
) -> Manifest:
    """Export, verify and write a bundle; on any error nothing is left behind.

    Args:
        pair: the weights of both branches.
        source: where they came from, for the manifest.
        output: the bundle's folder; an older bundle there is replaced.
        precision: of weights and activations.
        router_int8: whether the router is quantized, for CPUs; see `quantize`.
        route_checks: pictures on which a quantized router must choose the same experts.
        sms: GPUs to compile the fused kernels for; see `kernels.aot.SMS`.
        limits: of the parity certificate; None for the defaults.
        photographs: to verify on; None for the shipped ones.

    Raises:
        OutputError: `output` cannot be written.
        VerificationError: the exported network is not within the limits.
    """
    photographs = photographs or photos.paths()

    def prepare() -> tuple[Modules, list[Reference]]:
        modules = pair.modules()
        with counted("reference pictures in PyTorch", photographs) as each:
            references = make_references(modules, each)
        return Modules(modules.router, fold(modules.restorer)), references

    return write_bundle(
        pair.config,
        prepare,
        source,
        output,
        precision=precision,
        router_int8=router_int8,
        route_checks=route_checks,
        sms=sms,
        limits=limits,
        photographs=photographs,
    )


def write_bundle(
    config: ModelConfig,
    prepare: Callable[[], tuple[Modules, list[Reference]]],
    source: Source,
    output: Path,
    *,
    precision: Precision,
    router_int8: bool,
    route_checks: int,
    sms: Sequence[int],
    limits: Limits | None,
    photographs: Sequence[Path],
    ranks: Sequence[int] = (),
) -> Manifest:
    """Export, verify and write what `prepare` returns: as `build_bundle`, which has the rest.

    `prepare` returns modules in float32, the restorer folded, which may be changed, and what
    PyTorch makes of the photographs. `ranks` are the experts', where some were padded to the
    configuration's.
    """
    check_output(output)
    with atomic_folder(output) as folder:
        (router, net), references = prepare()
        unchanged = net.unchanged(config.classes)
        if precision == "fp16":
            net.half()
        with step(f"export {RESTORER} ({precision})"):
            export_restorer(net, config.restoration, folder / RESTORER)
            write_facts(folder / RESTORER, facts(config.classes, precision, source))
            for name, target in BOUND_TARGETS.items():
                write_bound(folder / RESTORER, folder / restorer_name(name), target)
                tiled = folder / restorer_name(name, tiled=True)
                write_tiled(folder / RESTORER, tiled, target, config.restoration.width)
            # WebGPU takes merged weights only, so its graph for tiles has them as well.
            write_bound(tiled, folder / restorer_name("webgpu", tiled=True), "reduce")
        del net
        router_precision = "int8" if router_int8 else precision
        with step(f"export {ROUTER} ({router_precision})"):
            if precision == "fp16" and not router_int8:
                router.half()
            export_router(router, config.router, folder / ROUTER)
            if router_int8:
                quantize_router(folder / ROUTER)
            write_facts(folder / ROUTER, facts(config.classes, router_precision, source))
            if router_int8:
                write_dequantized(folder / ROUTER, folder / router_name("openvino"))
        if sms:
            names = ", ".join(f"sm_{sm}" for sm in sms)
            with step(f"compile kernels for {names}"):
                r = config.restoration
                compile_kernels(r.num_experts, r.r, precision, sms, folder / KERNELS)
        manifest = Manifest(
            created_by=f"lorair {lorair_version()}",
            precision=precision,
            router_precision="int8" if router_int8 else None,
            model=_model_info(config, unchanged, ranks),
            files=list_files(folder),
            source=source,
        )
        backend = select("onnxruntime", Bundle(folder, manifest))
        routes = None
        if router_int8:
            with progress(f"compare routes on {route_checks} pictures") as report:
                pictures = partial(probe, photographs)
                routes = check_routes(backend, router, pictures, route_checks, report)
        del router
        with counted(f"verify on {len(references)} photographs", references) as each:
            certificate = certify(backend, each, manifest, limits or Limits(), routes)
        manifest = manifest.model_copy(update={"certificate": certificate})
        write_manifest(folder, manifest)
        return Bundle.open(folder).manifest


def _model_info(
    config: ModelConfig, unchanged: tuple[str, ...] = (), ranks: Sequence[int] = ()
) -> ModelInfo:
    parts = config.to_dict()
    if any(rank != config.restoration.r for rank in ranks):
        parts["restoration"]["ranks"] = list(ranks)
    return ModelInfo(
        classes=config.classes,
        experts=config.restoration.num_experts,
        top_k=config.top_k,
        clip_side=config.router.side,
        stride=config.restoration.stride,
        prior=config.restoration.prior,
        width=config.restoration.width,
        unchanged=unchanged,
        restoration=parts["restoration"],
        router=parts["router"],
    )
