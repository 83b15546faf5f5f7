"""The command `lorair-bench latency`."""

from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorair.benchmarks.commands.options import (
    DEFAULT_SIZES,
    ReportOption,
    SizesOption,
    parse_sizes,
)
from lorair.runtime.commands.options import ThreadsOption, named_bundle
from lorair.runtime.errors import OptionError, VerificationError
from lorair.runtime.system import console
from lorair.runtime.system.extras import require

if TYPE_CHECKING:
    from lorair.benchmarks.timing.runner import Runner, Spec
    from lorair.runtime.bundle.manifest import Bundle

_BUNDLES: Final = [Path("lorair-bundle")]
_BACKENDS: Final = ["auto"]
_BATCHES: Final = [1]


def latency(
    bundles: Annotated[
        list[Path],
        typer.Option(
            "--bundle",
            "-b",
            envvar="LORAIR_BUNDLE",
            metavar="FOLDER",
            parser=named_bundle,
            help="Folder of a bundle, or `default` for the one that lorair brings. Repeatable.",
        ),
    ] = _BUNDLES,
    sizes: SizesOption = DEFAULT_SIZES,
    iterations: Annotated[int, typer.Option(min=1, help="Number of timed rounds.")] = 10,
    backends: Annotated[
        list[str],
        typer.Option(
            "--backend",
            help="Backend to time; torch-eager runs the network as the released code does. "
            "Repeatable.",
        ),
    ] = _BACKENDS,
    threads: ThreadsOption = None,
    reuse_route: Annotated[
        bool, typer.Option("--reuse-route", help="Route once, and time only the restorer.")
    ] = False,
    batches: Annotated[
        list[int],
        typer.Option("--batch", min=1, max=64, help="Number of pictures in one run. Repeatable."),
    ] = _BATCHES,
    cold: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Time the first picture of N fresh processes too."),
    ] = 0,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Name the fastest configuration whose p90 is within this; exit with 1 "
            "if there is none.",
        ),
    ] = None,
    min_psnr: Annotated[
        float | None,
        typer.Option(
            help="Lowest PSNR in dB, against fp32 on ONNX Runtime, that `--budget-ms` accepts."
        ),
    ] = None,
    ir_weights: Annotated[
        Path | None,
        typer.Option(help="Restoration weights for torch-eager. Default: random ones."),
    ] = None,
    router_weights: Annotated[
        Path | None, typer.Option(help="Router weights for torch-eager. Default: random ones.")
    ] = None,
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:  # fmt: skip
    """Time every stage from file to file: p50 with its interval, p90, p99 and min.

    All bundles and backends take turns within each round, so that they can be compared.
    """
    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.schema.latency import LatencyReport
    from lorair.benchmarks.tables.latency import shown
    from lorair.benchmarks.timing.budget import check_budget, measure_psnr, verdicts
    from lorair.benchmarks.timing.latency import Session, measure, measure_cold
    from lorair.benchmarks.timing.runner import Spec
    from lorair.runtime.system.machine import default_threads

    parsed = parse_sizes(sizes)
    weights = [path for path in (ir_weights, router_weights) if path is not None]
    opened = _open(bundles)
    inputs = [file for bundle in opened.values() for file in bundle.path.glob("*")]
    console.check_outputs([report] if report else [], [*weights, *inputs])
    if len(weights) == 1:
        raise OptionError(
            "latency", wanted="both weights files", found="only one of them",
            hint="leave both out for random weights",
        )  # fmt: skip
    if max(batches) > 1:  # a graph for several pictures is written
        require("time a batch", "verify", "onnx")
    check_budget(budget_ms, min_psnr, opened)
    specs = [
        (label, Spec(bundle.path, name, threads, ir_weights, router_weights, reuse_route, batch))
        for label, bundle in opened.items()
        for name, batch in product(backends, dict.fromkeys(batches))
    ]
    settings = {
        "iterations": iterations, "threads": threads or default_threads(),
        "reuse_route": reuse_route, "cold": cold, "budget_ms": budget_ms, "min_psnr": min_psnr,
    }  # fmt: skip
    session = Session()
    with result(LatencyReport, session.fields, shown, report, as_json, opened, settings=settings):
        runs = len(parsed) * len(specs) * (iterations + 1 + cold)
        with console.counter(runs) as done:
            with ExitStack() as stack:
                measure(_runners(specs, stack), parsed, iterations, session, done)
            # The processes that were timed have ended: they would compete for memory and cores.
            measure_cold(cold, session, done)
        if min_psnr is not None:
            measure_psnr(session, opened)
    if budget_ms is not None:
        _judge(verdicts(session.configurations(), budget_ms / 1000, min_psnr))


def _runners(specs: "list[tuple[str, Spec]]", stack: ExitStack) -> "list[tuple[str, Runner]]":
    from lorair.benchmarks.timing.runner import ProcessRunner

    runners: dict[tuple[str, str, int], Runner] = {}
    for label, spec in specs:
        runner = stack.enter_context(ProcessRunner(spec))
        if runners.setdefault((label, runner.name, runner.batch), runner) is not runner:
            raise OptionError(
                "--backend", wanted="each backend once", found=f"{runner.name} twice",
                hint="auto chooses one of the others",
            )  # fmt: skip
    return [(label, runner) for (label, *_), runner in runners.items()]


def _open(paths: list[Path]) -> "dict[str, Bundle]":
    """Bundles by their label: the folder's name, or the path where names are equal."""
    from lorair.runtime.bundle.manifest import Bundle

    names = [path.resolve().name for path in paths]
    opened: dict[str, Bundle] = {}
    for path, name in zip(paths, names, strict=True):
        label = name if names.count(name) == 1 else str(path)
        if label in opened:
            raise OptionError("--bundle", wanted="each bundle once", found=f"{path} twice")
        opened[label] = Bundle.open(path)
    return opened


def _judge(found: "dict[str, tuple[bool, str]]") -> None:
    """Print the verdict of each size; raise if one misses the budget."""
    for _, sentence in found.values():
        console.stdout().print(sentence, soft_wrap=True)
    missed = [size for size, (met, _) in found.items() if not met]
    if missed:
        raise VerificationError(
            "no configuration meets the budget",
            wanted="a configuration within the budget for every size",
            found=f"none for {', '.join(missed)}",
            hint="the lines above name the closest",
        )
