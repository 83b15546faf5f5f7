"""lorair-export: checkpoint to bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.exporter.commands.engine import engine
from lorair.exporter.commands.required import require
from lorair.exporter.commands.verify import verify
from lorair.exporter.model.config import DEFAULT_ROUTE_CHECKS
from lorair.exporter.triton_server.command import triton
from lorair.runtime.errors import DependencyError, OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.exporter.checkpoint.checkpoint import Pair
    from lorair.runtime.bundle.manifest import Manifest, Source

app = console.make_app("Turn LoRA-IR checkpoints into bundles that run without PyTorch.")
app.command()(engine)

DEFAULT_SEED = 0
NO_ENGINES = "none"

app.command()(verify)
app.command()(triton)


def main() -> None:
    """The console script."""
    console.run(app)


@app.command()
def build(
    ir_weights: Annotated[
        Path | None, typer.Option(help="The restoration network's .pth or .safetensors.")
    ] = None,
    router_weights: Annotated[
        Path | None, typer.Option(help="The router's .pth or .safetensors.")
    ] = None,
    from_hub: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Download the pair, e.g. shallowdream204/LoRA-IR."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="The authors' YAML; gives top_k and is checked.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Experts that get a gate. Default: the YAML's, or 1.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="The experts' names, comma-separated.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")] = Path(
        "lorair-bundle"
    ),
    fp16: Annotated[
        bool, typer.Option("--fp16/--fp32", help="Precision of weights and activations.")
    ] = False,
    router_int8: Annotated[
        bool,
        typer.Option(
            "--router-int8",
            help="Quantize the router for CPUs: a quarter the size, faster.",
        ),
    ] = False,
    route_checks: Annotated[
        int,
        typer.Option(min=1, help="Pictures on which an int8 router must choose the same experts."),
    ] = DEFAULT_ROUTE_CHECKS,
    kernels: Annotated[
        str | None,
        typer.Option(metavar="SMS", help="Compile the GPU kernels: sm_80,sm_90 and so on, or all."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures to verify on instead of the shipped three."),
    ] = None,
    max_error: Annotated[
        float, typer.Option(min=0, help="fp32: largest error of a restored value.")
    ] = 1e-4,
    min_psnr: Annotated[
        float, typer.Option(help="fp16, int8 router: least PSNR against fp32, in dB.")
    ] = 50.0,
    engines: Annotated[
        str,
        typer.Option(
            help="Engines to add, as `engine` does: none, tensorrt-rtx, tensorrt, or auto for "
            "the first that is installed."
        ),
    ] = NO_ENGINES,
    as_json: console.JsonOption = False,
) -> None:
    """Build a bundle: export both branches, verify them against PyTorch, write the folder.

    Without weights the default model is used.
    """
    require("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "yaml")
    from lorair.exporter.build import build_bundle, check_output
    from lorair.exporter.commands.inputs import pictures_in
    from lorair.exporter.commands.inspect import print_engines
    from lorair.exporter.engines.build import build_engines
    from lorair.exporter.verify.compare import Limits
    from lorair.runtime.bundle.manifest import Bundle

    check_output(output)
    sms = _sms(kernels) if kernels is not None else ()
    flavour = _flavour_of_engines(engines, router_int8)
    photographs = pictures_in(images) if images is not None else None
    pair, source = _load(ir_weights, router_weights, from_hub, revision, config, top_k, classes)
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
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        _print_built(output, manifest)
        print_engines(built)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A bundle, or a .pth or .safetensors file.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the sha256 of every file of a bundle.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Show what is in a bundle or a checkpoint."""
    if path.is_file():
        require("torch", "safetensors")
        from lorair.exporter.commands.inspect import describe_checkpoint, print_checkpoint

        description = describe_checkpoint(path)
        if as_json:
            console.print_json(description)
        else:
            print_checkpoint(description)
        return
    from lorair.exporter.commands.inspect import print_bundle
    from lorair.runtime.bundle.manifest import Bundle

    bundle = Bundle.open(path)
    if verify:
        with console.step(f"hash {len(bundle.manifest.files)} files"):
            bundle.verify()
    if as_json:
        console.print_json(bundle.manifest.model_dump(mode="json"))
    else:
        print_bundle(bundle)


@app.command()
def synth(
    preset: Annotated[
        str, typer.Option(help="setting1: the released model's size; tiny: for tests.")
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = DEFAULT_SEED,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for PRESET_ir.pth, PRESET_router.pth.")
    ] = Path(),
    as_json: console.JsonOption = False,
) -> None:
    """Write a pair of random weights in exactly the released format."""
    require("torch", "safetensors")
    from lorair.exporter.checkpoint.synth import random_pair, write_pair
    from lorair.runtime.system.atomic import check_writable

    check_writable(output / f"{preset}_ir.pth")
    with console.step(f"draw and write {preset} weights, seed {seed}"):
        ir, router = write_pair(random_pair(preset, seed), output, preset)
    if as_json:
        console.print_json({"ir": str(ir), "router": str(router)})
    else:
        for path in (ir, router):
            console.stdout().print(str(path), soft_wrap=True)


def _load(
    ir: Path | None,
    router: Path | None,
    repo: str | None,
    revision: str | None,
    config: Path | None,
    top_k: int | None,
    classes: str | None,
) -> "tuple[Pair, Source]":
    """The weights that the options name, and where they came from."""
    from lorair.exporter.checkpoint.checkpoint import load_pair
    from lorair.exporter.checkpoint.hub import download_pair
    from lorair.runtime.bundle.manifest import Source, Weights, sha256

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
    if repo is None and ir is None:
        return _default_model(config, top_k, classes)
    if repo is not None:
        with console.step(f"download from {repo}"):
            ir, router = download_pair(repo, revision)
    assert ir is not None
    assert router is not None
    names = tuple(n.strip() for n in classes.split(",")) if classes is not None else None
    with console.step("read and check the weights"):
        pair = load_pair(ir, router, top_k=top_k, yaml_path=config, classes=names)
        source = Source(
            kind="hub" if repo is not None else "files",
            # The hub's cache keeps each commit's files in a folder of that name.
            detail=f"{repo} at {ir.parent.name}" if repo else "local files",
            ir=Weights(name=ir.name, sha256=sha256(ir)),
            router=Weights(name=router.name, sha256=sha256(router)),
        )
    return pair, source


def _default_model(
    config: Path | None, top_k: int | None, classes: str | None
) -> "tuple[Pair, Source]":
    from lorair.exporter import demo
    from lorair.exporter.checkpoint.checkpoint import load_pair
    from lorair.runtime.bundle.manifest import Source, Weights, sha256

    for option, value in (("--config", config), ("--top-k", top_k), ("--classes", classes)):
        if value is not None:
            raise OptionError(
                option, wanted="weights that it belongs to", found="none", hint="give --ir-weights"
            )
    console.note("no weights given: using the default model, small and trained on made pictures")
    ir, router = demo.paths()
    source = Source(
        kind="default",
        detail="the default model, lorair.exporter.demo",
        ir=Weights(name=ir.name, sha256=sha256(ir)),
        router=Weights(name=router.name, sha256=sha256(router)),
    )
    return load_pair(ir, router, classes=demo.CLASSES), source


def _flavour_of_engines(engines: str, router_int8: bool) -> str | None:
    """What `--engines` asks for; checked now, before minutes of export."""
    from lorair.exporter.engines.library import AUTO, choose

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


def _print_built(output: Path, manifest: "Manifest") -> None:
    certificate: Any = manifest.certificate
    size = sum(info.size for info in manifest.files.values()) / 1e6
    out = console.stdout()
    out.print(f"{output}", soft_wrap=True)
    out.print(f"  model      {', '.join(manifest.model.classes)}; top {manifest.model.top_k}")
    out.print(f"  precision  {manifest.precisions}, {size:.1f} MB")
    out.print(
        f"  parity     largest error {certificate.max_error:.1e}, "
        f"PSNR {certificate.psnr_db:.1f} dB, {certificate.route_changes} route changes"
    )
    if certificate.routes is not None:
        out.print(f"  routes     {certificate.routes.summary()}")
