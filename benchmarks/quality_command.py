"""The command `lorair-bench quality`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime import console

if TYPE_CHECKING:
    from lorair.benchmarks.quality import Result, Scores

SCHEMA_VERSION = 1

_COLUMNS = ("PSNR", "SSIM", "PSNR Y", "SSIM Y")


def quality(
    inputs: Annotated[Path, typer.Option("--input", "-i", help="Folder of degraded pictures.")],
    targets: Annotated[
        Path, typer.Option("--target", "-t", help="Folder of clean ones of the same names.")
    ],
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", envvar="LORAIR_BUNDLE", help="The bundle's folder.")
    ] = Path("lorair-bundle"),
    backend: Annotated[str, typer.Option(help="What runs the network.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore degraded pictures and compare with the clean ones: PSNR and SSIM, RGB and Y."""
    from rich.progress import Progress

    from lorair.benchmarks.environment import describe
    from lorair.benchmarks.quality import evaluate, find_pairs, to_document
    from lorair.runtime.restorer import Restorer

    pairs = find_pairs(inputs, targets)
    if report is not None:
        used = [path for pair in pairs for path in pair]
        console.check_report(report, [*used, *bundle.glob("*")])
    restorer = Restorer.open(bundle, backend, threads)
    with Progress(console=console.stderr(), transient=True) as progress:
        task = progress.add_task("restoring", total=len(pairs))
        results = list(evaluate(restorer, pairs, lambda: progress.advance(task)))
    manifest = restorer.bundle.manifest
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "quality",
        "environment": describe(),
        "bundle": {"precision": manifest.precision, "source": manifest.source.detail},
        "backend": restorer.backend.description,
        **to_document(results),
    }
    if report is not None:
        console.write_json(report, document)
    if as_json:
        console.print_json(document)
    else:
        _print(results)


def _print(results: "list[Result]") -> None:
    from lorair.benchmarks.quality import mean_scores

    before = mean_scores([r.before for r in results])
    after = mean_scores([r.after for r in results])
    rows = console.table("picture", "route", *(f">{m}" for m in _COLUMNS))
    for r in results:
        rows.add_row(r.name, r.route, *_cells(r.before, r.after))
    rows.add_section()
    rows.add_row(f"mean of {len(results)}", "", *_cells(before, after))
    console.stdout().print("before > after", highlight=False)
    console.stdout().print(rows)


def _cells(before: "Scores", after: "Scores") -> list[str]:
    return [
        f"{before.psnr:.2f}>{after.psnr:.2f}",
        f"{before.ssim:.3f}>{after.ssim:.3f}",
        f"{before.psnr_y:.2f}>{after.psnr_y:.2f}",
        f"{before.ssim_y:.3f}>{after.ssim_y:.3f}",
    ]
