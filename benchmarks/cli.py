"""lorair-bench: time a bundle, and measure how well it restores."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.benchmarks.kernels_command import kernels
from lorair.benchmarks.quality_command import quality
from lorair.runtime import console
from lorair.runtime.errors import OptionError

if TYPE_CHECKING:
    from lorair.benchmarks.latency import Measurement, Size
    from lorair.benchmarks.runner import Spec

app = console.make_app("Measure lorair bundles: time and quality.")
app.command()(quality)
app.command()(kernels)

SCHEMA_VERSION = 1


def main() -> None:
    """The console script."""
    console.run(app)


@app.command()
def latency(
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", envvar="LORAIR_BUNDLE", help="The bundle's folder.")
    ] = Path("lorair-bundle"),
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
    ir_weights: Annotated[
        Path | None, typer.Option(help="For torch-eager. Default: random, of the same shapes.")
    ] = None,
    router_weights: Annotated[Path | None, typer.Option(help="For torch-eager.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Time every stage from file to file: p50, p90, p99 and min, warm-up excluded.

    Several backends are timed in turn within each round.
    """
    from lorair.benchmarks.environment import describe
    from lorair.benchmarks.runner import Spec
    from lorair.runtime.bundle import Bundle
    from lorair.runtime.machine import default_threads

    parsed = [_size(text) for text in sizes or ["256x256", "512x512"]]
    if report is not None:
        weights = [path for path in (ir_weights, router_weights) if path is not None]
        console.check_report(report, [*weights, *bundle.glob("*")])
    opened = Bundle.open(bundle)
    if (ir_weights is None) != (router_weights is None):
        raise OptionError(
            "latency",
            wanted="both weights files",
            found="only one of them",
            hint="leave both out for random weights",
        )
    specs = [
        Spec(bundle, name, threads, ir_weights, router_weights, reuse_route)
        for name in backends or ["auto"]
    ]
    measurements = _measure(specs, parsed, iterations)
    manifest = opened.manifest
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "latency",
        "environment": describe(),
        "bundle": {
            "precision": manifest.precision,
            "precisions": manifest.precisions,
            "source": manifest.source.detail,
        },
        "threads": threads or default_threads(),
        "iterations": iterations,
        "reuse_route": reuse_route,
        "measurements": [m.to_dict() for m in measurements],
    }
    if report is not None:
        console.write_json(report, document)
    if as_json:
        console.print_json(document)
    else:
        _print(measurements, document)


def _measure(specs: "list[Spec]", sizes: "list[Size]", iterations: int) -> "list[Measurement]":
    from contextlib import ExitStack

    from rich.progress import Progress

    from lorair.benchmarks.latency import measure
    from lorair.benchmarks.runner import ProcessRunner

    with ExitStack() as stack:
        runners: dict[str, ProcessRunner] = {}
        for spec in specs:
            runner = stack.enter_context(ProcessRunner(spec))
            if runner.name in runners:
                raise OptionError(
                    "--backend",
                    wanted="each backend once",
                    found=f"{runner.name} twice",
                    hint="auto is one of the others' names",
                )
            runners[runner.name] = runner
        progress = stack.enter_context(Progress(console=console.stderr(), transient=True))
        task = progress.add_task("timing", total=len(specs) * len(sizes) * (iterations + 1))
        timed = measure(list(runners.values()), sizes, iterations, lambda: progress.advance(task))
        return list(timed)


def _size(text: str) -> "Size":
    from lorair.benchmarks.latency import Size
    from lorair.runtime.images import DEFAULT_MAX_PIXELS, MIN_PIXELS

    digits = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text.lower())
    size = Size(*map(int, digits.groups())) if digits else Size(0, 0)
    if not MIN_PIXELS <= size.height * size.width <= DEFAULT_MAX_PIXELS:
        raise OptionError(
            "--size",
            wanted=f"height x width of at most {DEFAULT_MAX_PIXELS // 10**6} megapixels",
            found=text,
            hint="such as 256x384",
        )
    return size


def _print(measurements: "list[Measurement]", document: dict[str, Any]) -> None:
    from lorair.benchmarks.latency import STAGES

    environment = document["environment"]
    out = console.stdout()
    out.print(
        f"{environment['cpu']}, {environment['cores']} cores; {document['bundle']['precisions']}; "
        f"{document['iterations']} rounds; milliseconds",
        soft_wrap=True,
    )
    for m in measurements:
        out.print(f"\n{m.size}  {m.description}", soft_wrap=True)
        first = sum(m.first.values()) * 1000
        memory = f"; peak memory {m.peak_memory / 1e9:.2f} GB" if m.peak_memory else ""
        out.print(f"first run {first:.0f}, of it {m.first['load'] * 1000:.0f} loading{memory}")
        rows = console.table("stage", ">p50", ">p90", ">p99", ">min")
        summary = m.summary()
        for stage in (*STAGES, "total"):
            values = (summary[stage][key] for key in ("p50", "p90", "p99", "min"))
            rows.add_row(stage, *(f"{value:.1f}" for value in values))
        out.print(rows)
