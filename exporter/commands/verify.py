"""The command `lorair-export verify`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.exporter.commands import options
from lorair.exporter.verify import MAX_ERROR, MIN_PSNR
from lorair.runtime.bundle import bundle_folder
from lorair.runtime.errors import BackendError, DependencyError, OptionError, VerificationError
from lorair.runtime.system import console
from lorair.runtime.system.extras import require

if TYPE_CHECKING:
    from lorair.exporter.verify.backends import MakeReferences
    from lorair.exporter.verify.report import Report
    from lorair.runtime.backends import BackendKind
    from lorair.runtime.bundle.manifest import Bundle


def verify(
    bundle: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE", parser=bundle_folder, help="Bundle whose backends are compared."
        ),
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Backend to compare. Repeat it for several.",
            show_default="all that are usable here",
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            help="The reference: portable (the bundle's portable graphs in float32 on ONNX "
            "Runtime), another backend, or pytorch."
        ),
    ] = "portable",
    ir_weights: options.IrWeightsOption = None,
    router_weights: options.RouterWeightsOption = None,
    images: options.ImagesOption = None,
    max_error: options.MaxErrorOption = MAX_ERROR,
    min_psnr: options.MinPsnrOption = MIN_PSNR,
    bisect: Annotated[
        bool | None,
        typer.Option(
            "--bisect/--no-bisect",
            help="Search for the first node that differs.",
            show_default="for backends that fail",
        ),
    ] = None,
    ranges: Annotated[
        bool,
        typer.Option("--ranges", help="Show how near values come to the largest float16."),
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Compare a bundle's backends with a reference; where they differ, find the node.

    Needs no PyTorch unless it is the reference, which then takes the weights that are given.
    """
    require("verify", "verify", "onnx", "onnxruntime")
    from lorair.exporter import photos
    from lorair.exporter.verify.backends import Plan, verify_bundle
    from lorair.exporter.verify.compare import Limits
    from lorair.exporter.verify.report import print_report
    from lorair.runtime.bundle.manifest import Bundle

    opened = Bundle.open(bundle)
    plan = Plan(
        kinds=_kinds(backend, against, opened),
        against=against,
        pictures=tuple(options.pictures_in(images) if images is not None else photos.paths()),
        limits=Limits(max_error, min_psnr),
        search=bisect,
        ranges=ranges,
        references=_pytorch(against, opened, ir_weights, router_weights),
    )
    report = verify_bundle(opened, plan)
    if as_json:
        console.print_json(report.to_dict())
    else:
        print_report(report)
    _raise_unless_passed(report)


def _raise_unless_passed(report: "Report") -> None:
    for verdict in report.verdicts:
        broken = verdict.violation
        if broken is not None:
            raise VerificationError(
                f"{verdict.name} gives another picture ({broken.limit})",
                wanted=broken.wanted,
                found=f"{broken.found} on {broken.picture}",
                hint="docs/verify.md says what to do",
            )
    if report.overflows:
        first = report.overflows[0]
        raise VerificationError(
            "the network overflows float16",
            wanted="values of at most 65504",
            found=f"{first.largest or float('inf'):.4g} at {first.node} on {first.picture}",
            hint="build it with --fp32",
        )


def _kinds(
    names: Sequence[str] | None, against: str, bundle: "Bundle"
) -> "tuple[BackendKind, ...]":
    """The backends named, or all that can run this bundle here."""
    from lorair.exporter.verify.backends import PORTABLE, PYTORCH
    from lorair.runtime.backends import BACKENDS

    for name in names or ():
        _check_name("--backend", name, list(BACKENDS))
    _check_name("--against", against, [PORTABLE, PYTORCH, *BACKENDS])
    if names and against in names:
        raise OptionError(
            "--against", wanted="another backend", found=against, hint="leave one of them out"
        )
    if names:
        return tuple(BACKENDS[name] for name in dict.fromkeys(names))
    others = (kind for kind in BACKENDS.values() if kind.name != against)
    kinds = tuple(k for k in others if k.missing() is None and k.unfit(bundle) is None)
    if not kinds:
        raise DependencyError(
            "nothing to verify",
            wanted=f"another backend than {against}",
            found="none that is usable here",
            hint="`lorair-run doctor` lists all",
        )
    return kinds


def _check_name(option: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise BackendError(
            f"{option}: no backend {name!r}",
            wanted=f"one of {', '.join(known)}",
            found=name,
            hint="`lorair-run doctor` lists what is usable here",
        )


def _pytorch(
    against: str, bundle: "Bundle", ir: Path | None, router: Path | None
) -> "MakeReferences | None":
    """What makes references in PyTorch; None if something else is the reference."""
    if (ir is None) != (router is None) or (ir is not None and against != "pytorch"):
        raise OptionError(
            "--ir-weights, --router-weights",
            wanted="both, with --against pytorch",
            found="one of the three alone" if against != "pytorch" else "only one",
            hint="give all, or none",
        )
    if against != "pytorch":
        return None
    require("verify", "export,cpu", "torch", "safetensors", "yaml")
    from lorair.exporter import demo
    from lorair.exporter.checkpoint.checkpoint import load_pair
    from lorair.exporter.verify.certificate import make_references

    model = bundle.manifest.model
    if ir is None or router is None:
        ir, router = demo.paths()
    _check_weights(bundle, ir, router)
    pair = load_pair(ir, router, top_k=model.top_k, classes=model.classes)
    return lambda pictures: make_references(pair.modules(), pictures)


def _check_weights(bundle: "Bundle", *files: Path) -> None:
    """Other weights would differ from the bundle, and rightly so."""
    from lorair.runtime.bundle.files import sha256

    source = bundle.manifest.source
    for path, made_from in zip(files, (source.ir, source.router), strict=True):
        if path.is_file() and made_from is not None and sha256(path) != made_from.sha256:
            raise OptionError(
                "--against pytorch",
                wanted=f"the weights that the bundle was built from ({made_from.name})",
                found=f"{path}, other content",
                hint="give --ir-weights and --router-weights",
            )
