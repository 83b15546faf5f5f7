"""Made results of lorair-bench."""

from collections.abc import Sequence
from typing import Any

from lorair.benchmarks.schema.costs import ExpertRow, ExpertsReport
from lorair.benchmarks.schema.latency import Configuration, LatencyReport
from lorair.benchmarks.schema.parts import BundleRecord, Environment
from lorair.benchmarks.schema.statistics import summarize, summarize_all

ENVIRONMENT = Environment(
    cpu="abacus", cores=2, memory=10**9, system="none", python="3.11", versions={"lorair": "0"}
)


def configuration(backend: str, bundle: str = "b", height: int = 32, **rest: Any) -> Configuration:
    """One size, 32 wide; keywords that are no fields are stages' samples."""
    fields = {k: rest.pop(k) for k in list(rest) if k in Configuration.model_fields}
    samples: dict[str, Sequence[float]] = rest
    return Configuration(
        bundle=bundle,
        backend=backend,
        description=backend,
        height=height,
        width=32,
        samples={stage: tuple(values) for stage, values in samples.items()},
        summary=summarize_all(samples),
        **fields,
    )


def latency_report(*configurations: Configuration, **fields: Any) -> LatencyReport:
    labels = dict.fromkeys(c.bundle for c in configurations)
    bundles = tuple(BundleRecord(label=b, precision="fp32", source="made") for b in labels)
    return LatencyReport(
        environment=ENVIRONMENT, bundles=bundles, configurations=configurations, **fields
    )


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
