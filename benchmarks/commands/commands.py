"""The command `lorair-bench commands`."""

import shlex
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.schema import CommandsReport
    from lorair.benchmarks.timing.processes import Timed


def commands(
    lines: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="Each in quotes; no shell.")
    ],
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, in turn.")] = 5,
    size_of: Annotated[
        list[Path] | None,
        typer.Option(help="A file or folder whose size is kept too, after the last run."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Time whole commands, from start to exit, with the peak memory of each."""
    from lorair.benchmarks.schema.environment import now
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.benchmarks.timing.processes import check, measure

    timed = check([tuple(shlex.split(line)) for line in lines])
    if report is not None:
        console.check_report(report, [])
    started, paths = now(), size_of or []
    with (
        kept(report, lambda complete: _report(timed, started, paths, complete)),
        console.counter(rounds * len(timed)) as done,
    ):
        measure(timed, rounds, done)
    document = _report(timed, started, paths, True)
    assert document is not None
    if as_json:
        console.print_json(to_json(document))
    else:
        _print(document)


def _report(
    timed: "list[Timed]", started: str, paths: list[Path], complete: bool
) -> "CommandsReport | None":
    from lorair.benchmarks.schema import CommandsReport
    from lorair.benchmarks.schema.environment import command_line, describe
    from lorair.benchmarks.timing.processes import sizes

    done = tuple(command.result() for command in timed if command.seconds)
    if not done:
        return None
    return CommandsReport(
        complete=complete,
        command=command_line(),
        date=started,
        environment=describe(),
        runs=done,
        sizes=sizes(paths) if complete else {},
    )


def _print(document: "CommandsReport") -> None:
    rows = console.table("command", ">seconds", ">from", ">to", ">processor, s", ">memory, MB")
    for run in document.runs:
        processor = statistics.median(run.cpu_seconds)
        times = (run.p50, min(run.seconds), max(run.seconds), processor)
        memory = f"{run.peak_memory / 1e6:.0f}" if run.peak_memory else "?"
        rows.add_row(shlex.join(run.command), *(f"{value:.2f}" for value in times), memory)
    console.stdout().print(rows)
    for path, size in document.sizes.items():
        console.say(f"{path}  {size / 1e6:.1f} MB")
