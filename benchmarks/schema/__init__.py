"""What a result file holds: one versioned JSON schema for every command of lorair-bench.

The format is written down in docs/results.md. Durations are in seconds, memory is in bytes.
"""

from typing import Final

from lorair.benchmarks.schema.costs import (
    CommandRun,
    CommandsReport,
    ExpertRow,
    ExpertsReport,
    KernelSize,
    KernelsReport,
    ThroughputReport,
    ThroughputRun,
)
from lorair.benchmarks.schema.latency import (
    Configuration,
    GpuState,
    Interval,
    LatencyReport,
    Memory,
    Summary,
)
from lorair.benchmarks.schema.parts import (
    SCHEMA_VERSION,
    BundleRecord,
    Environment,
    Gpu,
    Result,
    Row,
    Value,
    Yardstick,
    YardstickSize,
)
from lorair.benchmarks.schema.quality import (
    Means,
    Picture,
    Preview,
    Published,
    QualityReport,
    Scores,
    TileRow,
    TilesReport,
)

__all__ = [
    "MODELS",
    "SCHEMA_VERSION",
    "BundleRecord",
    "CommandRun",
    "CommandsReport",
    "Configuration",
    "Environment",
    "ExpertRow",
    "ExpertsReport",
    "Gpu",
    "GpuState",
    "Interval",
    "KernelSize",
    "KernelsReport",
    "LatencyReport",
    "Means",
    "Memory",
    "Picture",
    "Preview",
    "Published",
    "QualityReport",
    "Report",
    "Result",
    "Row",
    "Scores",
    "Summary",
    "ThroughputReport",
    "ThroughputRun",
    "TileRow",
    "TilesReport",
    "Value",
    "Yardstick",
    "YardstickSize",
]

Report = (
    LatencyReport
    | ThroughputReport
    | ExpertsReport
    | QualityReport
    | KernelsReport
    | CommandsReport
    | TilesReport
)
MODELS: Final[dict[str, type[Report]]] = {
    "latency": LatencyReport,
    "throughput": ThroughputReport,
    "experts": ExpertsReport,
    "quality": QualityReport,
    "kernels": KernelsReport,
    "commands": CommandsReport,
    "tiles": TilesReport,
}
