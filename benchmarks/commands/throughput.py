"""The command `lorair-bench throughput`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.benchmarks.commands.options import ReportOption, RoundsOption
from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console


def throughput(
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    folder: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of pictures. Default: the photographs of lorair."),
    ] = None,
    jobs: Annotated[
        list[int] | None,
        typer.Option(
            help="Number of pictures in work at once. Repeatable; default: 1, 2 and that of "
            "`lorair-run infer`."
        ),
    ] = None,
    rounds: RoundsOption = 3,
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Measure pictures and megapixels a second, file to file, for several pictures at once."""
    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.schema.costs import ThroughputReport
    from lorair.benchmarks.tables import costs as tables
    from lorair.benchmarks.timing.throughput import Folder, Rounds, measure
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.system.machine import default_jobs

    sources = _sources(folder)
    console.check_outputs([report] if report else [], [*sources, *bundle.glob("*")])
    pictures, timed = Folder.of(sources), list[Rounds]()
    counts = sorted(set(jobs or (1, 2, default_jobs(threads))))
    restorers = [Restorer.open(bundle, backend, threads, count) for count in counts]
    first = restorers[0]
    if not as_json:
        console.note(options.backend_note(first))
    with (
        result(
            ThroughputReport, lambda: {"runs": tuple(t.to_run() for t in timed if t.seconds)},
            lambda r: [tables.throughput(r)], report, as_json,
            {first.bundle.path.name: first.bundle}, backend=first.backend.name,
            pictures=len(sources), megapixels=pictures.megapixels,
        ),
        console.progress(f"restore {len(sources)} pictures, {rounds} rounds") as shown,
    ):  # fmt: skip
        measure(restorers, pictures, rounds, timed, shown)


def _sources(folder: Path | None) -> list[Path]:
    from lorair.exporter import photos
    from lorair.runtime.folders import plan as tasks

    if folder is None:
        return list(photos.paths())
    if not folder.is_dir():
        raise OptionError("--images", wanted="a folder", found=str(folder))
    return [task.source for task in tasks.plan([folder], None).tasks]
