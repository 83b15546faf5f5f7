"""The command `lorair-bench throughput`."""

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.schema import ThroughputReport
    from lorair.benchmarks.timing.throughput import Folder, Sweep


def throughput(
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    folder: Annotated[
        Path | None, typer.Option("--images", help="Folder of pictures. Default: shipped ones.")
    ] = None,
    jobs: Annotated[
        list[int] | None,
        typer.Option(help="Pictures in work at once; repeat for several. [1, 2 and `infer`'s]"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds over the folder.")] = 3,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Pictures and megapixels a second, file to file, for several pictures at once."""
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.benchmarks.timing.throughput import Folder, Sweep, measure
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.system.machine import default_jobs

    sources = _sources(folder)
    if report is not None:
        console.check_report(report, [*sources, *bundle.glob("*")])
    pictures = Folder.of(sources)
    counts = sorted(set(jobs or (1, 2, default_jobs(threads))))
    restorers = [Restorer.open(bundle, backend, threads, count) for count in counts]
    if not as_json:
        console.note(options.backend_note(restorers[0]))
    sweeps: list[Sweep] = []
    first = restorers[0]
    with (
        kept(report, lambda complete: _report(first, pictures, sweeps, complete)),
        console.progress(f"restore {len(pictures.sources)} pictures, {rounds} rounds") as shown,
    ):
        measure(restorers, pictures, rounds, sweeps, shown)
    document = _report(first, pictures, sweeps, True)
    assert document is not None
    if as_json:
        console.print_json(to_json(document))
    else:
        _print(document)


def _sources(folder: Path | None) -> list[Path]:
    from lorair.exporter import photos
    from lorair.runtime.folders import plan as tasks

    if folder is None:
        return list(photos.paths())
    if not folder.is_dir():
        raise OptionError("--images", wanted="a folder", found=str(folder))
    return [task.source for task in tasks.plan([folder], None)]


def _report(
    restorer: "object", folder: "Folder", sweeps: "list[Sweep]", complete: bool
) -> "ThroughputReport | None":
    from lorair.benchmarks.schema import ThroughputReport, ThroughputRun
    from lorair.benchmarks.schema.environment import command_line, describe, describe_bundle, now
    from lorair.runtime.restorer import Restorer

    assert isinstance(restorer, Restorer)
    done = [sweep for sweep in sweeps if sweep.seconds]
    if not done:
        return None
    label = restorer.bundle.path.name
    return ThroughputReport(
        complete=complete,
        command=command_line(),
        date=now(),
        environment=describe(),
        bundles=(describe_bundle(restorer.bundle, label),),
        backend=restorer.backend.name,
        pictures=len(folder.sources),
        megapixels=folder.megapixels,
        runs=tuple(
            ThroughputRun(
                jobs=sweep.jobs,
                seconds=tuple(sweep.seconds),
                cpu_seconds=tuple(sweep.cpu),
                stages={part: seconds / len(sweep.seconds) for part, seconds in
                        sweep.stages.items()},
                bottleneck=sweep.bottleneck,
            )
            for sweep in done
        ),
    )  # fmt: skip


def _print(document: "ThroughputReport") -> None:
    table = console.table(
        ">at once", ">pictures/s", ">MP/s", ">seconds", ">processor, s", "bottleneck",
        title=f"{document.pictures} pictures, {document.megapixels:.1f} megapixels; medians",
    )  # fmt: skip
    for run in document.runs:
        seconds = statistics.median(run.seconds)
        table.add_row(
            str(run.jobs),
            f"{document.pictures / seconds:.2f}",
            f"{document.megapixels / seconds:.2f}",
            f"{seconds:.2f}",
            f"{statistics.median(run.cpu_seconds):.2f}",
            f"{run.bottleneck} ({run.stages[run.bottleneck] / sum(run.stages.values()):.0%})",
        )
    console.stdout().print(table)
