"""What every command that measures does with its result: begin, keep and show it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lorair.benchmarks.schema.environment import command_line, describe, describe_bundle, now
from lorair.benchmarks.schema.parts import Result
from lorair.benchmarks.schema.results_file import to_json, write_report
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system import console
from lorair.runtime.system.table import Table, to_terminal

R = TypeVar("R", bound=Result)


def begin(kind: type[R], bundles: Mapping[str, Bundle] | None = None, **fields: Any) -> R:
    """Return the result of a run before anything is measured.

    Args:
        kind: of the result.
        bundles: that are measured, by their label.
        fields: what else is known by then.
    """
    described = [describe_bundle(bundle, label) for label, bundle in (bundles or {}).items()]
    return kind.model_validate(
        {
            "command": command_line(),
            "date": now(),
            "environment": describe(),
            "bundles": described,
            **fields,
        }
    )


@contextmanager
def result(
    start: R,
    measured: Callable[[], Mapping[str, Any]],
    shown: Callable[[R], Iterable[Table | str]],
    report: Path | None,
    as_json: bool,
) -> Iterator[None]:
    """Write and show the result of the block, in which everything is measured.

    A run that is interrupted or fails is written too, marked as not complete, once anything
    has been measured.

    Args:
        start: from `begin`.
        measured: returns the fields that are known now.
        shown: returns what to print.
        report: where to write the result; None does not write it.
        as_json: print the result as JSON.
    """
    try:
        yield
    except BaseException:  # Ctrl-C and SIGTERM too: what has been measured is worth keeping
        fields = measured()
        if report is not None and any(fields.values()):
            write_report(report, start.model_copy(update={**fields, "complete": False}))
            console.note(f"the run is not complete: {report} has what was measured by then")
        raise
    document = start.model_copy(update=dict(measured()))
    if report is not None:
        write_report(report, document)
    show(document, shown, as_json)


def show(document: R, shown: Callable[[R], Iterable[Table | str]], as_json: bool) -> None:
    """Print a result on stdout, as tables and sentences or as JSON."""
    if as_json:
        console.print_json(to_json(document))
        return
    out = console.stdout()
    for part in shown(document):
        out.print(to_terminal(part) if isinstance(part, Table) else part, soft_wrap=True)
