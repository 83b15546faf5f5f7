"""The command `lorair-bench latency`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.errors import OptionError, VerificationError
from lorair.runtime.system import console
from lorair.runtime.system.extras import require

if TYPE_CHECKING:
    from contextlib import ExitStack

    from lorair.benchmarks.schema import LatencyReport
    from lorair.benchmarks.sizes import Size
    from lorair.benchmarks.timing.latency import Session
    from lorair.benchmarks.timing.runner import Runner, Spec
    from lorair.benchmarks.timing.yardstick import YardstickSpec
    from lorair.runtime.bundle.manifest import Bundle


def latency(
    bundles: Annotated[
        list[Path] | None,
        typer.Option(
            "--bundle",
            "-b",
            envvar="LORAIR_BUNDLE",
            help="The bundle's folder; repeat to compare several. [lorair-bundle]",
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="HxW", help="Repeat for several. [256x256, 512x512]"),
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 10,
    backends: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            help="Repeat to compare side by side; torch-eager is the released code's way. [auto]",
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    reuse_route: Annotated[
        bool, typer.Option("--reuse-route", help="Route once, then time only the restorer.")
    ] = False,
    batches: Annotated[
        list[int] | None,
        typer.Option("--batch", min=1, max=64, help="Pictures in one run; repeat for several. [1]"),
    ] = None,
    cold: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also the first picture of N fresh processes.")
    ] = 0,
    budget_ms: Annotated[
        float | None,
        typer.Option(min=0.001, help="Name the fastest whose p90 is within; exit with 1 if none."),
    ] = None,
    min_psnr: Annotated[
        float | None,
        typer.Option(help="Quality limit of the budget in dB, against fp32 on ONNX Runtime."),
    ] = None,
    ir_weights: Annotated[
        Path | None, typer.Option(help="For torch-eager. Default: random, of the same shapes.")
    ] = None,
    router_weights: Annotated[Path | None, typer.Option(help="For torch-eager.")] = None,
    yardstick: Annotated[
        bool,
        typer.Option(help="Time a fixed piece of work as well, so that runs can be compared."),
    ] = True,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Time every stage from file to file: p50 with its interval, p90, p99 and min.

    All bundles and backends are timed in turn within each round, and so is the yardstick.
    """
    from lorair.benchmarks.commands.latency_print import print_latency
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.benchmarks.sizes import parse_size
    from lorair.benchmarks.timing.budget import check_budget, measure_psnr, verdicts
    from lorair.benchmarks.timing.latency import Session
    from lorair.benchmarks.timing.runner import Spec

    parsed = [parse_size(text) for text in sizes or ["256x256", "512x512"]]
    weights = [path for path in (ir_weights, router_weights) if path is not None]
    opened = _open(bundles or [Path("lorair-bundle")])
    if report is not None:
        inputs = [file for bundle in opened.values() for file in bundle.path.glob("*")]
        console.check_report(report, [*weights, *inputs])
    _check_weights(len(weights))
    if max(batches or [1]) > 1:  # a graph for several pictures is written
        require("time a batch", "verify", "onnx")
    check_budget(budget_ms, min_psnr, opened)
    specs = [
        (label, Spec(bundle.path, name, threads, ir_weights, router_weights, reuse_route, batch))
        for label, bundle in opened.items()
        for name in backends or ["auto"]
        for batch in dict.fromkeys(batches or [1])
    ]
    document = _start(opened, iterations, threads, reuse_route, cold, budget_ms, min_psnr)
    session, beside = Session(), _yardstick(threads) if yardstick else None
    with kept(report, lambda complete: _filled(document, session, beside, complete)):
        _measure(specs, parsed, iterations, cold, session, beside)
        if min_psnr is not None:
            measure_psnr([spec for _, spec in specs], session, opened)
    document = _filled(document, session, beside)
    if as_json:
        console.print_json(to_json(document))
    else:
        print_latency(document)
    if budget_ms is not None:
        _judge(verdicts(document.configurations, budget_ms / 1000, min_psnr))


def _start(
    opened: "dict[str, Bundle]",
    iterations: int,
    threads: int | None,
    reuse_route: bool,
    cold: int,
    budget_ms: float | None,
    min_psnr: float | None,
) -> "LatencyReport":
    """The report before anything is measured."""
    from lorair.benchmarks.schema import LatencyReport
    from lorair.benchmarks.schema.environment import command_line, describe, describe_bundle, now
    from lorair.runtime.system.machine import default_threads

    return LatencyReport(
        command=command_line(),
        date=now(),
        environment=describe(),
        bundles=tuple(describe_bundle(bundle, label) for label, bundle in opened.items()),
        settings={
            "iterations": iterations,
            "threads": threads or default_threads(),
            "reuse_route": reuse_route,
            "cold": cold,
            "budget_ms": budget_ms,
            "min_psnr": min_psnr,
        },
        configurations=(),
    )


def _filled(
    document: "LatencyReport",
    session: "Session",
    beside: "YardstickSpec | None",
    complete: bool = True,
) -> "LatencyReport":
    from lorair.benchmarks.timing.yardstick import record

    return document.model_copy(
        update={
            "complete": complete,
            "configurations": session.configurations(),
            "gpu_states": tuple(session.gpu_states),
            "yardstick": record(beside, session.yardstick) if beside else None,
        }
    )


def _measure(
    specs: "list[tuple[str, Spec]]",
    sizes: "list[Size]",
    iterations: int,
    cold: int,
    session: "Session",
    beside: "YardstickSpec | None",
) -> None:
    from contextlib import ExitStack
    from functools import partial

    from rich.progress import Progress

    from lorair.benchmarks.timing.latency import measure, measure_cold
    from lorair.benchmarks.timing.runner import ProcessRunner

    with Progress(console=console.stderr(), transient=True) as progress:
        turns = len(specs) + (beside is not None)
        total = len(sizes) * (turns * (iterations + 1) + len(specs) * cold)
        task = progress.add_task("timing", total=total)
        with ExitStack() as stack:
            runners = _runners(specs, stack)
            yardstick = stack.enter_context(ProcessRunner(beside)) if beside else None
            step = partial(progress.advance, task)
            measure(runners, sizes, iterations, session, step, yardstick)
        # The processes that were timed have ended: they would compete for memory and cores.
        plain = [spec for _, spec in specs]
        measure_cold(plain, cold, session, lambda: progress.advance(task))


def _yardstick(threads: int | None) -> "YardstickSpec | None":
    """None where it cannot run: a GPU's or OpenVINO's machine may lack ONNX Runtime."""
    from lorair.benchmarks.timing.yardstick import YardstickSpec, is_available
    from lorair.runtime.system.machine import default_threads

    if is_available():
        return YardstickSpec(threads or default_threads())
    console.note("no yardstick, which needs onnxruntime: separate runs will hardly be comparable")
    return None


def _runners(specs: "list[tuple[str, Spec]]", stack: "ExitStack") -> "list[tuple[str, Runner]]":
    from lorair.benchmarks.timing.runner import ProcessRunner

    runners: dict[tuple[str, str, int], Runner] = {}
    for label, spec in specs:
        runner = stack.enter_context(ProcessRunner(spec))
        if (label, runner.name, runner.batch) in runners:
            raise OptionError(
                "--backend",
                wanted="each backend once",
                found=f"{runner.name} twice",
                hint="auto is one of the others' names",
            )
        runners[label, runner.name, runner.batch] = runner
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


def _check_weights(given: int) -> None:
    if given == 1:
        raise OptionError(
            "latency",
            wanted="both weights files",
            found="only one of them",
            hint="leave both out for random weights",
        )


def _judge(found: "dict[str, tuple[bool, str]]") -> None:
    """Print each size's verdict; raise if one misses the budget."""
    for text in found.values():
        console.stdout().print(text[1], soft_wrap=True)
    missed = [size for size, (met, _) in found.items() if not met]
    if missed:
        raise VerificationError(
            "the budget is missed",
            wanted="a configuration within the budget for every size",
            found=f"none for {', '.join(missed)}",
            hint="the lines above name the nearest",
        )
