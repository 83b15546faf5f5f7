"""The command `lorair-bench quality`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.benchmarks.commands.options import ReportOption
from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.quality.datasets import Dataset, PicturePair
    from lorair.benchmarks.schema.quality import Picture


def quality(
    inputs: Annotated[
        Path | None, typer.Option("--input", "-i", help="Folder of degraded pictures.")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option("--target", "-t", help="Folder of clean pictures of the same names."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with both, such as input/ and target/, or data/ and gt/. "
                          "Repeatable."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="snow|rainfog|raindrop",
            help="Take the file names of this test set of the paper, and show the published "
            "numbers beside.",
        ),
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help="Use this expert for every picture, instead of the router's.")
    ] = None,
    previews: Annotated[
        int, typer.Option(min=0, metavar="N", help="Keep small JPEGs of N pictures in the report.")
    ] = 0,
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:  # fmt: skip
    """Restore degraded pictures and compare them with the clean ones: PSNR and SSIM.

    Both are computed on RGB, on Y, and as the authors' script computes the published numbers.
    """
    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.quality import datasets
    from lorair.benchmarks.quality.previews import spread
    from lorair.benchmarks.quality.quality import evaluate, group_means, means
    from lorair.benchmarks.schema.quality import QualityReport
    from lorair.benchmarks.tables.quality import quality_shown
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.routing.gates import one_expert

    rules = datasets.dataset(dataset)
    pairs = _pairs(inputs, targets, data or [], rules)
    used = [path for pair in pairs for path in (pair.source, pair.target)]
    console.check_outputs([report] if report else [], [*used, *bundle.glob("*")])
    restorer, pictures = Restorer.open(bundle, backend, threads), list["Picture"]()
    gates = one_expert(expert, restorer.bundle.manifest.model.classes) if expert else None
    settings = {
        "backend": restorer.backend.name, "description": restorer.backend.description,
        "dataset": dataset, "expert": expert,
    }  # fmt: skip
    groups = list(dict.fromkeys(pair.group for pair in pairs))
    with (
        result(
            QualityReport,
            lambda: {"pictures": tuple(pictures), "mean": means(pictures),
                     "groups": group_means(pictures, groups)},
            quality_shown, report, as_json, {bundle.resolve().name: restorer.bundle},
            settings=settings, published=rules.published if rules else None,
        ),
        console.counter(len(pairs)) as done,
    ):  # fmt: skip
        for picture in evaluate(restorer, pairs, gates, spread(pairs, previews)):
            pictures.append(picture)
            done()


def _pairs(
    inputs: Path | None, targets: Path | None, data: list[Path], rules: "Dataset | None"
) -> "list[PicturePair]":
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
