"""The command `lorair-bench quality`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime import console

if TYPE_CHECKING:
    from lorair.benchmarks.quality import Result, Scores
    from lorair.benchmarks.schema import QualityReport

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

    from lorair.benchmarks.environment import command_line, describe, describe_bundle, now
    from lorair.benchmarks.quality import evaluate, find_pairs
    from lorair.benchmarks.results_file import kept, to_json
    from lorair.benchmarks.schema import QualityReport
    from lorair.runtime.restorer import Restorer

    pairs = find_pairs(inputs, targets)
    if report is not None:
        used = [path for pair in pairs for path in pair]
        console.check_report(report, [*used, *bundle.glob("*")])
    restorer = Restorer.open(bundle, backend, threads)
    results: list[Result] = []
    start = QualityReport(
        command=command_line(),
        date=now(),
        environment=describe(),
        bundles=(describe_bundle(restorer.bundle, bundle.resolve().name),),
        settings={"backend": restorer.backend.name, "description": restorer.backend.description},
        pictures=(),
        mean=None,
    )
    progress = Progress(console=console.stderr(), transient=True)
    with kept(report, lambda complete: _filled(start, results, complete)), progress:
        task = progress.add_task("restoring", total=len(pairs))
        for result in evaluate(restorer, pairs, lambda: progress.advance(task)):
            results.append(result)
    document = _filled(start, results)
    if as_json:
        console.print_json(to_json(document))
    else:
        _print(results)


def _filled(
    document: "QualityReport", results: "list[Result]", complete: bool = True
) -> "QualityReport":
    from dataclasses import asdict

    from lorair.benchmarks.quality import means
    from lorair.benchmarks.schema import Picture

    pictures = tuple(Picture.model_validate(asdict(result)) for result in results)
    update = {"complete": complete, "pictures": pictures, "mean": means(results)}
    return document.model_copy(update=update)


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
