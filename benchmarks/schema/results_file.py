"""Result files: written whole, checked when they are read."""

import json
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from lorair.benchmarks.schema.costs import (
    CommandsReport,
    ExpertsReport,
    KernelsReport,
    ThroughputReport,
)
from lorair.benchmarks.schema.latency import LatencyReport
from lorair.benchmarks.schema.parts import SCHEMA_VERSION, Result
from lorair.benchmarks.schema.quality import QualityReport, TilesReport
from lorair.runtime.errors import ResultError
from lorair.runtime.system import console

Report = (
    LatencyReport | ThroughputReport | ExpertsReport | QualityReport | KernelsReport
    | CommandsReport | TilesReport
)  # fmt: skip
MODELS: Final[dict[str, type[Report]]] = {
    model.model_fields["kind"].default: model for model in get_args(Report)
}


def write_report(path: Path, report: Result) -> None:
    """Write a result file, whole or not at all. Raises OutputError."""
    console.write_json(path, to_json(report))


def to_json(report: Result) -> dict[str, Any]:
    """Return the report as plain values."""
    return report.model_dump(mode="json")


def read_report(path: Path) -> Report:
    """Read a result file of any kind.

    Raises ResultError: the file is missing, is no result, or one that contradicts the schema.
    """
    content = _content(path)
    _check_version(path, content)
    kind = content["kind"]
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise _unreadable(path, f"kind {' or '.join(MODELS)}", repr(kind))
    try:
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the top level"
        wanted = f"a result as in docs/results.md at {place}"
        raise _unreadable(path, wanted, first["msg"]) from None


def read_latency(path: Path) -> LatencyReport:
    """Read a result of `lorair-bench latency`. Raises ResultError."""
    report = read_report(path)
    if not isinstance(report, LatencyReport):
        raise ResultError(
            f"cannot compare {path}", wanted="a result of lorair-bench latency",
            found=f"one of lorair-bench {report.kind}",
            hint="only latency results have samples to compare",
        )  # fmt: skip
    return report


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        found = "nothing there" if missing else error.strerror or str(error)
        raise _unreadable(path, "a file", found) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "JSON", f"something else ({error})") from error
    if not isinstance(content, dict) or not {"schema_version", "kind"} <= content.keys():
        raise _unreadable(path, "a result of lorair-bench", "other JSON")
    return content


def _check_version(path: Path, content: dict[str, Any]) -> None:
    version = content["schema_version"]
    if version == SCHEMA_VERSION and not isinstance(version, bool):
        return
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    raise ResultError(
        f"cannot read the result {path}", wanted=f"schema version {SCHEMA_VERSION}",
        found=repr(version), hint="upgrade lorair" if newer else "measure again with this version",
    )  # fmt: skip


def _unreadable(path: Path, wanted: str, found: str) -> ResultError:
    hint = "name a file that lorair-bench wrote with --report"
    return ResultError(f"cannot read the result {path}", wanted=wanted, found=found, hint=hint)
