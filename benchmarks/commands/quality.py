"""The command `lorair-bench quality`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.quality.datasets import Dataset, Pair
    from lorair.benchmarks.quality.quality import Result
    from lorair.benchmarks.schema import QualityReport
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.routing.gates import Gates


def quality(
    inputs: Annotated[
        Path | None, typer.Option("--input", "-i", help="Folder of degraded pictures.")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option("--target", "-t", help="Folder of clean ones of the same names.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Instead: a folder with both, such as synthetic/ and gt/. Repeatable."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="snow|rainfog|raindrop",
            help="A test set of the paper: its naming rules, the published numbers beside.",
        ),
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help="This expert for every picture, instead of the router's.")
    ] = None,
    previews: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Keep small JPEGs of so many pictures in the report."
        ),
    ] = 0,
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", envvar="LORAIR_BUNDLE", help="The bundle's folder.")
    ] = Path("lorair-bundle"),
    backend: Annotated[str, typer.Option(help="What runs the network.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore degraded pictures and compare with the clean ones: PSNR and SSIM.

    On RGB, on Y, and as the authors' script computes what they published. What an interrupted
    run has measured is kept.
    """
    from lorair.benchmarks.commands.quality_print import print_quality
    from lorair.benchmarks.quality import datasets
    from lorair.benchmarks.quality.previews import spread
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.routing.gates import one_expert

    rules = datasets.dataset(dataset)
    pairs = _pairs(inputs, targets, data or [], rules)
    if report is not None:
        used = [path for pair in pairs for path in (pair.source, pair.target)]
        console.check_report(report, [*used, *bundle.glob("*")])
    restorer = Restorer.open(bundle, backend, threads)
    gates = one_expert(expert, restorer.bundle.manifest.model.classes) if expert else None
    start, results = _start(restorer, bundle, rules, dataset, expert), list["Result"]()
    with kept(report, lambda complete: _filled(start, results, complete)):
        _evaluate(restorer, pairs, gates, spread(pairs, previews), results)
    document = _filled(start, results)
    if as_json:
        console.print_json(to_json(document))
    else:
        print_quality(document)


def _pairs(
    inputs: Path | None, targets: Path | None, data: list[Path], rules: "Dataset | None"
) -> "list[Pair]":
    from lorair.benchmarks.quality.datasets import find_folders, find_pairs

    if data and (inputs or targets):
        raise OptionError("--data", wanted="no --input and --target beside it", found="both")
    if not data and not (inputs and targets):
        raise OptionError("quality", wanted="--input and --target, or --data", found="neither")
    if rules is not None and len(data) > 1:
        raise OptionError("--dataset", wanted="one --data beside it", found=str(len(data)))
    if inputs and targets:
        return find_pairs(inputs, targets, rules)
    names = [folder.resolve().name if len(data) > 1 else "" for folder in data]
    if len(set(names)) < len(names):
        raise OptionError("--data", wanted="folders of different names", found=", ".join(names))
    return [
        pair
        for folder, name in zip(data, names, strict=True)
        for pair in find_pairs(*find_folders(folder), rules, name)
    ]


def _start(
    restorer: "Restorer",
    bundle: Path,
    rules: "Dataset | None",
    dataset: str | None,
    expert: str | None,
) -> "QualityReport":
    """The report before anything is restored."""
    from lorair.benchmarks.schema import QualityReport
    from lorair.benchmarks.schema.environment import command_line, describe, describe_bundle, now

    return QualityReport(
        command=command_line(),
        date=now(),
        environment=describe(),
        bundles=(describe_bundle(restorer.bundle, bundle.resolve().name),),
        settings={
            "backend": restorer.backend.name,
            "description": restorer.backend.description,
            "dataset": dataset,
            "expert": expert,
        },
        pictures=(),
        mean=None,
        published=rules.published if rules else None,
    )


def _filled(
    document: "QualityReport", results: "list[Result]", complete: bool = True
) -> "QualityReport":
    from dataclasses import asdict

    from lorair.benchmarks.quality.quality import group_means, means
    from lorair.benchmarks.schema import Picture

    pictures = tuple(Picture.model_validate({**asdict(r), "preview": r.preview}) for r in results)
    update = {"pictures": pictures, "mean": means(results), "groups": group_means(results)}
    return document.model_copy(update={"complete": complete, **update})


def _evaluate(
    restorer: "Restorer",
    pairs: "list[Pair]",
    gates: "Gates | None",
    previewed: set[int],
    results: "list[Result]",
) -> None:
    from rich.progress import Progress

    from lorair.benchmarks.quality.quality import evaluate

    with Progress(console=console.stderr(), transient=True) as progress:
        task = progress.add_task("restoring", total=len(pairs))
        for result in evaluate(restorer, pairs, gates, previewed):
            results.append(result)
            progress.advance(task)
