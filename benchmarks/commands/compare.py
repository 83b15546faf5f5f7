"""The command `lorair-bench compare`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.errors import OptionError, VerificationError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.compare.changes import Change


def compare(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN.json", help="Result of `lorair-bench latency` with at least two bundles."
        ),
    ],
    fail_over: Annotated[
        str, typer.Option(metavar="PERCENT", help="Slowdown from which on the command fails.")
    ] = "5%",
    as_json: console.JsonOption = False,
) -> None:
    """Compare the bundles of a run with its first one; exit with 1 if any is slower.

    A slowdown counts if it is above the limit and more than noise.
    """
    from dataclasses import asdict

    from lorair.benchmarks.compare.changes import compare_bundles
    from lorair.benchmarks.schema.results_file import read_latency

    limit, report = _limit(fail_over), read_latency(run)
    if not report.complete:
        console.note("the run was interrupted, and may lack some of what was asked for")
    changes = compare_bundles(report, limit)
    if as_json:
        console.print_json([
            {**asdict(c), "ratio": c.ratio, "low": c.interval[0], "high": c.interval[1]}
            for c in changes
        ])  # fmt: skip
    else:
        _print(changes, limit)
    _fail_if_slower(changes, limit)


def _limit(text: str) -> float:
    number = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?)\s*%?", text.strip())
    if number is None:
        raise OptionError("--fail-over", wanted="a percentage", found=text, hint="such as 5%")
    return float(number[1]) / 100


def _print(changes: "list[Change]", limit: float) -> None:
    from lorair.benchmarks.compare.changes import visible_slowdown

    out = console.stdout()
    columns = ("stage", ">before, ms", ">after, ms", ">change", ">95 % interval", ">p", "")
    for name in dict.fromkeys(change.name for change in changes):
        found = [c for c in changes if c.name == name]
        rows = console.table(*columns, title=name)
        for c in found:
            low, high = c.interval
            rows.add_row(
                c.stage, f"{c.before * 1e3:.2f}", f"{c.after * 1e3:.2f}", f"{c.ratio - 1:+.1%}",
                f"{low - 1:+.0%} to {high - 1:+.0%}", f"{c.p:.3f}",
                c.verdict if c.judged else "not judged",
            )  # fmt: skip
        out.print(rows)
        seen = visible_slowdown(next(c for c in found if c.stage == "total"), limit)
        said = f"a slowdown of the total by {seen:.0%} would be seen nine times in ten"
        out.print(said, soft_wrap=True)


def _fail_if_slower(changes: "list[Change]", limit: float) -> None:
    slower = [c for c in changes if c.judged and c.verdict == "slower"]
    if slower:
        worst = max(slower, key=lambda c: c.ratio)
        raise VerificationError(
            f"{len(slower)} of {len(changes)} times are slower than before",
            wanted=f"at most {limit:.1%} more",
            found=f"{worst.ratio - 1:.1%} in {worst.name}, {worst.stage}",
            hint="measure again with more --iterations if you doubt it",
        )
