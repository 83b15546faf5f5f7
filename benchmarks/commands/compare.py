"""The command `lorair-bench compare`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.errors import OptionError, VerificationError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.compare.changes import Change
    from lorair.benchmarks.schema import LatencyReport


def compare(
    before: Annotated[Path, typer.Argument(help="A result of lorair-bench latency.")],
    after: Annotated[
        Path | None,
        typer.Argument(help="Another. Without it: the first's other bundles against its first."),
    ] = None,
    fail_over: Annotated[
        str, typer.Option(metavar="PERCENT", help="The slowdown that matters.")
    ] = "5%",
    as_json: console.JsonOption = False,
) -> None:
    """Tell what became slower by more than noise; exit with 1 if anything did.

    Time both bundles in one run where you can: separate runs on a busy machine differ by more
    than what is looked for.
    """
    from dataclasses import asdict

    from lorair.benchmarks.compare.changes import compare_bundles, compare_reports
    from lorair.benchmarks.schema.results_file import read_latency

    limit = _limit(fail_over)
    first = read_latency(before)
    second = read_latency(after) if after is not None else None
    if not first.complete or (second and not second.complete):
        console.note("a run was interrupted, and may lack some of what was asked for")
    if second is None:
        changes = compare_bundles(first, limit)
    else:
        _note_differences(first, second)
        _note_method(first, second)
        changes = compare_reports(first, second, limit)
    if as_json:
        console.print_json([asdict(change) for change in changes])
    else:
        _print(changes, limit)
    _fail_if_slower(changes, limit)


def _limit(text: str) -> float:
    number = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?)\s*%?", text.strip())
    if number is None:
        raise OptionError("--fail-over", wanted="a percentage", found=text, hint="such as 5%")
    return float(number[1]) / 100


def _note_differences(before: "LatencyReport", after: "LatencyReport") -> None:
    """What else is different between two runs, on stderr."""
    old, new = before.environment, after.environment
    for name in ("cpu", "cores", "affinity", "cpu_quota", "python", "versions", "gpus"):
        if getattr(old, name) != getattr(new, name):
            console.note(f"the runs differ in {name}")
    for name in ("threads", "reuse_route"):
        if before.settings.get(name) != after.settings.get(name):
            console.note(f"the runs differ in {name}")


def _note_method(before: "LatencyReport", after: "LatencyReport") -> None:
    from lorair.benchmarks.compare.changes import yardstick_obstacle

    if obstacle := yardstick_obstacle(before, after):
        console.note(f"{obstacle}: medians of separate runs, which only tell on a quiet machine")


def _print(changes: "list[Change]", limit: float) -> None:
    out = console.stdout()
    for name in dict.fromkeys(change.name for change in changes):
        rows = console.table(
            "stage", ">before ms", ">after ms", ">change", ">95 % interval", ">p", "", title=name
        )
        for c in (c for c in changes if c.name == name):
            interval = f"{c.low - 1:+.0%} to {c.high - 1:+.0%}"
            cells = f"{c.before * 1e3:.2f}", f"{c.after * 1e3:.2f}", f"{c.ratio - 1:+.1%}"
            rows.add_row(
                c.stage, *cells, interval, f"{c.p:.3f}", c.verdict if c.judged else "not judged"
            )
        out.print(rows)
        out.print(_power([c for c in changes if c.name == name], limit), soft_wrap=True)


def _power(changes: "list[Change]", limit: float) -> str:
    """What `equal` excludes: said, because a noisy run excludes little."""
    from math import expm1, log, log1p

    stage = "cpu" if changes[0].method == "yardstick" else "total"
    whole = next(c for c in changes if c.stage == stage)
    error = log(whole.high / whole.ratio) / 1.96
    # 1.96: significance of the one total; 1.28: nine times in ten.
    visible = expm1(max(1.96 * error, log1p(limit)) + 1.28 * error)
    what = {
        "rounds": "the total, by pairs of rounds,",
        "yardstick": "the CPU time, by the yardstick,",
        "runs": "the total",
    }[whole.method]
    return f"a slowdown of {what} by {visible:.0%} would be seen nine times in ten"


def _fail_if_slower(changes: "list[Change]", limit: float) -> None:
    slower = [c for c in changes if c.judged and c.verdict == "slower"]
    if slower:
        worst = max(slower, key=lambda c: c.ratio)
        raise VerificationError(
            f"slower than before: {len(slower)} of {len(changes)} times",
            wanted=f"at most {limit:.1%} more",
            found=f"{worst.ratio - 1:.1%} in {worst.name}, {worst.stage}",
            hint="measure again with more --iterations if that cannot be",
        )
