"""Made rows of lorair-bench experts."""

from collections.abc import Sequence
from typing import Any

from results import ENVIRONMENT

from lorair.benchmarks.schema.costs import ExpertRow, ExpertsReport
from lorair.benchmarks.schema.statistics import summarize


def row(form: str, experts: int, seconds: Sequence[float], **fields: Any) -> ExpertRow:
    """At 32x32, top 1, unless told otherwise."""
    found = {"top_k": 1, "rank": 4, "height": 32, "width": 32, **fields}
    if seconds:
        summary = summarize(seconds)
        found |= {"samples": tuple(seconds), "p50": summary.p50, "interval": summary.interval}
    return ExpertRow.model_validate({"experts": experts, "form": form, **found})


def experts_report(*rows: ExpertRow, **fields: Any) -> ExpertsReport:
    return ExpertsReport(
        environment=ENVIRONMENT, preset="tiny", backend="x", description="x", rows=rows, **fields
    )
