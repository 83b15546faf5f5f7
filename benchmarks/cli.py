"""lorair-bench: time a bundle, and measure how well it restores."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.benchmarks.quality_command import quality
from lorair.runtime import console
from lorair.runtime.errors import DependencyError, OptionError

if TYPE_CHECKING:
    from lorair.benchmarks.latency import Measurement, Size
    from lorair.runtime.restorer import Restorer

app = console.make_app("Measure lorair bundles: time and quality.")
app.command()(quality)

TORCH_EAGER = "torch-eager"
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
    from lorair.runtime.machine import usable_cores

    parsed = [_size(text) for text in sizes or ["256x256", "512x512"]]
    if report is not None:
        weights = [path for path in (ir_weights, router_weights) if path is not None]
        console.check_report(report, [*weights, *bundle.glob("*")])
    restorers = _open(bundle, backends or ["auto"], threads, ir_weights, router_weights)
    measurements = _measure(restorers, parsed, iterations)
    manifest = next(iter(restorers.values())).bundle.manifest
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "latency",
        "environment": describe(),
        "bundle": {"precision": manifest.precision, "source": manifest.source.detail},
        "threads": threads or usable_cores(),
        "iterations": iterations,
        "measurements": [m.to_dict() for m in measurements],
    }
    if report is not None:
        console.write_json(report, document)
    if as_json:
        console.print_json(document)
    else:
        _print(measurements, document)


def _open(
    bundle: Path,
    names: list[str],
    threads: int | None,
    ir_weights: Path | None,
    router_weights: Path | None,
) -> "dict[str, Restorer]":
    from lorair.runtime.bundle import Bundle
    from lorair.runtime.restorer import Restorer

    if (ir_weights is None) != (router_weights is None):
        raise OptionError(
            "latency",
            wanted="both weights files",
            found="only one of them",
            hint="leave both out for random weights",
        )
    opened: dict[str, Restorer] = {}
    for name in names:
        if name == TORCH_EAGER:
            restorer = _open_eager(Bundle.open(bundle), threads, ir_weights, router_weights)
        else:
            restorer = Restorer.open(bundle, name, threads)
        if restorer.backend.name in opened:
            raise OptionError(
                "--backend",
                wanted="each backend once",
                found=f"{restorer.backend.name} twice",
                hint="auto is one of the others' names",
            )
        opened[restorer.backend.name] = restorer
    return opened


def _open_eager(
    bundle: Any, threads: int | None, ir_weights: Path | None, router_weights: Path | None
) -> "Restorer":
    try:
        from lorair.benchmarks.torch_eager import EagerWeights, TorchEagerBackend
    except ImportError as error:
        raise DependencyError(
            "cannot time torch-eager",
            wanted="the export extra",
            found=f"{error.name} is not installed",
            hint="pip install 'lorair[export]'",
        ) from error
    from lorair.runtime.restorer import Restorer

    weights = EagerWeights(ir_weights, router_weights)
    return Restorer(bundle, TorchEagerBackend(bundle.manifest.model, weights, threads))


def _measure(
    restorers: "dict[str, Restorer]", sizes: "list[Size]", iterations: int
) -> "list[Measurement]":
    from rich.progress import Progress

    from lorair.benchmarks.latency import measure

    total = len(restorers) * len(sizes) * (iterations + 1)
    with Progress(console=console.stderr(), transient=True) as progress:
        task = progress.add_task("timing", total=total)
        return list(measure(restorers, sizes, iterations, lambda: progress.advance(task)))


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
        f"{environment['cpu']}, {environment['cores']} cores; {document['bundle']['precision']}; "
        f"{document['iterations']} rounds; milliseconds",
        soft_wrap=True,
    )
    for m in measurements:
        out.print(f"\n{m.size}  {m.description}", soft_wrap=True)
        first = sum(m.first.values()) * 1000
        out.print(f"first run {first:.0f}, of it {m.first['load'] * 1000:.0f} loading")
        rows = console.table("stage", ">p50", ">p90", ">p99", ">min")
        summary = m.summary()
        for stage in (*STAGES, "total"):
            values = (summary[stage][key] for key in ("p50", "p90", "p99", "min"))
            rows.add_row(stage, *(f"{value:.1f}" for value in values))
        out.print(rows)
