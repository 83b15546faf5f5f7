"""The command `lorair-export build`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lorair.exporter.commands import options
from lorair.exporter.commands.options import require
from lorair.exporter.engines import AUTO
from lorair.exporter.verify import MAX_ERROR, MIN_PSNR, ROUTE_CHECKS
from lorair.runtime.errors import DependencyError, OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.exporter.checkpoint.checkpoint import Pair
    from lorair.runtime.bundle.manifest import Manifest, Source

NO_ENGINES = "none"


def build(
    ir_weights: options.IrWeightsOption = None,
    router_weights: options.RouterWeightsOption = None,
    from_hub: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="Download the weights from the hub: shallowdream204/LoRA-IR."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of the hub's repository.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The authors' YAML, which is checked and from which top_k is taken."),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(help="How many experts a picture gets.", show_default="the YAML's, or 1"),
    ] = None,
    classes: options.ClassesOption = None,
    merge: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERT",
            help="Keep this expert alone, so that every picture is restored by it; `merge` "
            "writes one for other programs.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle.")] = Path(
        "lorair-bundle"
    ),
    fp16: Annotated[
        bool, typer.Option("--fp16/--fp32", help="Precision of weights and activations.")
    ] = False,
    router_int8: Annotated[
        bool,
        typer.Option(
            "--router-int8", help="Quantize the router for CPUs: a quarter of the size, and faster."
        ),
    ] = False,
    route_checks: Annotated[
        int,
        typer.Option(min=1, help="Pictures on which an int8 router must choose the same experts."),
    ] = ROUTE_CHECKS,
    kernels: Annotated[
        str | None,
        typer.Option(
            metavar="SMS", help="Compile the GPU kernels for sm_80,sm_90 and so on, or for all."
        ),
    ] = None,
    images: options.ImagesOption = None,
    max_error: options.MaxErrorOption = MAX_ERROR,
    min_psnr: options.MinPsnrOption = MIN_PSNR,
    engines: Annotated[
        str,
        typer.Option(
            help="Add engines, as `engine` does: none, tensorrt-rtx, tensorrt, or auto for "
            "the first that is installed."
        ),
    ] = NO_ENGINES,
    warm: Annotated[
        bool,
        typer.Option(
            "--warm",
            help="Compile it for this machine, as `lorair-run warm` does, for first "
            "pictures without a wait.",
        ),
    ] = False,
    to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="Also upload the bundle to this repository, as `upload` does."
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Build a bundle: export both branches, verify them against PyTorch, write the folder.

    Without weights the default model is used.
    """
    require("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "yaml")
    from lorair.exporter.build import build_bundle, check_output
    from lorair.exporter.commands.inspect import print_engines
    from lorair.exporter.commands.upload import publish
    from lorair.exporter.engines.build import build_engines
    from lorair.exporter.verify.compare import Limits
    from lorair.runtime.backends import AUTO
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.warm import warm as fill_cache

    check_output(output)
    sms = _sms(kernels) if kernels is not None else ()
    flavour = _flavour_of_engines(engines, router_int8)
    photographs = options.pictures_in(images) if images is not None else None
    files = (ir_weights, router_weights)
    pair, source = load_weights(*files, from_hub, revision, config, top_k, classes)
    if merge is not None:
        pair = pair.only(merge)
        source = source.model_copy(update={"detail": f"{source.detail}; {merge} alone"})
    manifest = build_bundle(
        pair,
        source,
        output,
        precision="fp16" if fp16 else "fp32",
        router_int8=router_int8,
        route_checks=route_checks,
        sms=sms,
        limits=Limits(max_error, min_psnr),
        photographs=photographs,
    )
    built = [] if flavour is None else build_engines(Bundle.open(output), flavour=flavour)
    if warm:
        with console.progress("compile") as progress:
            fill_cache(output, AUTO, None, progress)
    if to_hub is not None:
        publish(Bundle.open(output), to_hub)
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        print_built(output, manifest)
        print_engines(built, manifest.model.classes)


def load_weights(
    ir: Path | None = None,
    router: Path | None = None,
    repo: str | None = None,
    revision: str | None = None,
    config: Path | None = None,
    top_k: int | None = None,
    classes: str | None = None,
) -> "tuple[Pair, Source]":
    """Return the weights that the options name, and where they came from.

    Raises:
        OptionError: options that contradict each other.
        CheckpointError: a file that is missing, damaged, unsafe or not this network's.
        ConfigError: files or options that contradict each other.
    """
    from lorair.exporter import demo
    from lorair.exporter.checkpoint.checkpoint import load_pair
    from lorair.exporter.checkpoint.hub import download_pair
    from lorair.runtime.bundle.files import sha256
    from lorair.runtime.bundle.manifest import Source, Weights

    names = options.names_in(classes)
    _check_sources(ir, router, repo, {"--config": config, "--top-k": top_k, "--classes": classes})
    kind: Literal["files", "hub", "default"] = "files"
    detail, commit = "local files", None
    if repo is not None:
        with console.step(f"download from {repo}"):
            ir, router = download_pair(repo, revision)
        # The hub's cache keeps each commit's files in a folder of that name.
        kind, commit = "hub", ir.parent.name
        detail = f"{repo} at {commit}"
    elif ir is None or router is None:
        text = "no weights given: using the default model, small and trained on made pictures"
        console.note(text)
        (ir, router), names = demo.paths(), demo.CLASSES
        kind, detail = "default", "the default model, lorair.exporter.demo"
    assert ir is not None
    assert router is not None
    with console.step("read and check the weights"):
        pair = load_pair(ir, router, top_k=top_k, yaml_path=config, classes=names)
        files = [Weights(name=path.name, sha256=sha256(path)) for path in (ir, router)]
        return pair, Source(
            kind=kind, detail=detail, repo=repo, revision=commit, ir=files[0], router=files[1]
        )


def _check_sources(
    ir: Path | None, router: Path | None, repo: str | None, others: dict[str, Any]
) -> None:
    """Raise OptionError unless one source is named, or none and no option that needs one."""
    if (ir is None) != (router is None):
        raise OptionError(
            "build",
            wanted="both --ir-weights and --router-weights",
            found="only one of them",
            hint="give both, or neither for the default model",
        )
    if repo is not None and ir is not None:
        raise OptionError(
            "build", wanted="--from-hub or weights files", found="both", hint="leave one out"
        )
    given = [option for option, value in others.items() if value is not None]
    if given and repo is None and ir is None:
        raise OptionError(
            given[0], wanted="weights that it belongs to", found="none", hint="give --ir-weights"
        )


def _flavour_of_engines(engines: str, router_int8: bool) -> str | None:
    """What `--engines` asks for; checked now, before minutes of export."""
    from lorair.exporter.engines.library import choose

    if engines == NO_ENGINES:
        return None
    if router_int8:
        raise OptionError(
            "build",
            wanted="--engines or --router-int8",
            found="both",
            hint="an int8 router is for CPUs; leave one out",
        )
    try:
        return choose(engines, option="--engines")
    except DependencyError as error:
        if engines != AUTO:
            raise
        console.note(f"no engines: {error.line()}")
        return None


def _sms(text: str) -> tuple[int, ...]:
    """Checked before anything slow begins."""
    from lorair.kernels.aot import check_compiler, parse_sms

    sms = parse_sms(text)
    check_compiler()
    return sms


def print_built(output: Path, manifest: "Manifest") -> None:
    """Print what is in a new bundle, and how it was verified."""
    certificate: Any = manifest.certificate
    size = sum(info.size for info in manifest.files.values()) / 1e6
    lines = {
        "model": f"{', '.join(manifest.model.classes)}; top {manifest.model.top_k}",
        "precision": f"{manifest.precisions}, {size:.1f} MB",
        "parity": f"largest error {certificate.max_error:.1e}, "
        f"PSNR {certificate.psnr_db:.1f} dB, {certificate.route_changes} route changes",
    }
    if certificate.routes is not None:
        lines["routes"] = certificate.routes.summary()
    console.stdout().print(f"{output}", soft_wrap=True)
    for name, text in lines.items():
        console.stdout().print(f"  {name:<9}  {text}")
