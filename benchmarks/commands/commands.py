"""The command `lorair-bench commands`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from lorair.benchmarks.commands.options import ReportOption
from lorair.runtime.system import console


def commands(
    lines: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="Command lines, each in quotes; no shell."),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="Number of runs of each command.")] = 5,
    size_of: Annotated[
        list[Path] | None,
        typer.Option(help="Record the size of this file or folder after the last run. Repeatable."),
    ] = None,
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Time whole commands from start to exit, with the peak memory of each.

    The commands take turns.
    """
    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.schema.costs import CommandsReport
    from lorair.benchmarks.tables.costs import commands_shown
    from lorair.benchmarks.timing.processes import check, measure, sizes

    timed = check([tuple(shlex.split(line)) for line in lines])
    console.check_outputs([report] if report else [], [])
    found: dict[str, int] = {}

    def measured() -> dict[str, Any]:
        return {"runs": tuple(one.result() for one in timed if one.seconds), "sizes": found}

    with (
        result(CommandsReport, measured, commands_shown, report, as_json),
        console.counter(rounds * len(timed)) as done,
    ):
        measure(timed, rounds, done)
        found.update(sizes(size_of or []))
