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


@contextmanager
def result(
    kind: type[R],
    measured: Callable[[], Mapping[str, Any]],
    shown: Callable[[R], Iterable[Table | str]],
    report: Path | None,
    as_json: bool,
    bundles: Mapping[str, Bundle] | None = None,
    **known: Any,
) -> Iterator[None]:
    """Write and show the result of the block, in which everything is measured.

    A run that is interrupted or fails is written too, marked as not complete, once anything has
    been measured. `measured` returns the fields that are known now, `shown` what to print of the
    whole; `known` are fields that do not change. Without `report` nothing is written.
    """
    described = [describe_bundle(bundle, label) for label, bundle in (bundles or {}).items()]
    common = {"command": command_line(), "date": now(), "environment": describe()}
    start = kind.model_validate({**common, "bundles": described, **measured(), **known})
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
    if as_json:
        console.print_json(to_json(document))
        return
    for part in shown(document):
        table = to_terminal(part) if isinstance(part, Table) else part
        console.stdout().print(table, soft_wrap=True)
