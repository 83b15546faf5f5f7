"""Of `lorair-bench throughput`, `commands`, `experts` and `kernels`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorair.benchmarks.schema.latency import Interval
from lorair.benchmarks.schema.parts import Bytes, Part, Result, Row, Samples, Seconds


class ThroughputRun(Part):
    """So many pictures at once. seconds, cpu_seconds: of each round over all pictures.

    stages: seconds that pictures spend on each part, a round; they overlap, so their sum is
    more than the round takes. bottleneck: the part with most of them.
    """

    jobs: Annotated[int, Field(ge=1)]
    seconds: Samples
    cpu_seconds: Samples
    stages: dict[str, Seconds]
    bottleneck: str


class ThroughputReport(Result):
    """`lorair-bench throughput`. megapixels: of all pictures together."""

    kind: Literal["throughput"] = "throughput"
    backend: str
    pictures: Annotated[int, Field(ge=1)]
    megapixels: float
    runs: tuple[ThroughputRun, ...]


class CommandRun(Part):
    """A whole command. seconds, cpu_seconds: of each run, from start to exit.

    peak_memory: the most bytes that one of its processes held; None where not known.
    output: what the last run printed on stdout and stderr, its end.
    """

    command: tuple[str, ...]
    seconds: Samples
    cpu_seconds: Samples
    p50: Seconds
    peak_memory: Bytes | None = None
    output: str = ""


class CommandsReport(Result):
    """`lorair-bench commands`. sizes: bytes of files and folders after the last run."""

    kind: Literal["commands"] = "commands"
    runs: tuple[CommandRun, ...]
    sizes: dict[str, Bytes] = Field(default_factory=dict)


class ExpertRow(Part):
    """A mixture of experts in one form, at one size, on one route.

    rank: of each expert. form: `merged`: the experts merged into the weights for the route,
    beforehand; `gates`: the gates an input, the weights merged at every run; `fused`: the
    fused operators' kernels. samples: seconds of the restoration network in each round, in
    their order; position i of all rows with the same number of experts and size is the same
    round. p50, interval: of them. bundle_bytes: graph and weights of the restorer in this
    form. switch_seconds: until another route can run; 0 where it is an input. note: for
    people, such as why nothing was timed.
    """

    experts: Annotated[int, Field(ge=1)]
    top_k: Annotated[int, Field(ge=1)]
    rank: Annotated[int, Field(ge=1)]
    form: Literal["merged", "gates", "fused"]
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    samples: Samples = ()
    p50: Seconds | None = None
    interval: Interval | None = None
    peak_memory: Bytes | None = None
    bundle_bytes: Bytes | None = None
    switch_seconds: Seconds | None = None
    note: str = ""

    @property
    def size(self) -> str:
        """Height x width."""
        return f"{self.height}x{self.width}"


class ExpertsReport(Result):
    """`lorair-bench experts`. crossover: what follows from the rows, in sentences."""

    kind: Literal["experts"] = "experts"
    preset: str
    backend: str
    description: str
    rows: tuple[ExpertRow, ...]
    crossover: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> "ExpertsReport":
        names = [(r.experts, r.top_k, r.form, r.size) for r in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("a row is there twice")
        return self


class KernelSize(Part):
    """One picture size on one device; durations as named, `_ms` in milliseconds."""

    size: tuple[int, int]
    device: Row
    layers: tuple[Row, ...]
    network_ms: dict[str, float] | None = None


class KernelsReport(Result):
    """`lorair-bench kernels`. compiled: what each kernel takes, None if it was not compiled."""

    kind: Literal["kernels"] = "kernels"
    preset: str
    dtype: str
    timed: bool
    sizes: tuple[KernelSize, ...]
    compiled: tuple[Row, ...] | None
