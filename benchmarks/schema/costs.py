"""The results of `lorair-bench throughput`, `commands`, `experts` and `kernels`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorair.benchmarks.schema.latency import Interval
from lorair.benchmarks.schema.parts import Bytes, Result, Row, Samples, Seconds, Sized
from lorair.runtime.bundle.files import Stored


class ThroughputRun(Stored):
    """The rounds with one number of pictures at once.

    seconds, cpu_seconds: of each round, over all pictures. stages: seconds that the pictures
    of a round spend on each part; parts overlap, so their sum is more than the round takes.
    bottleneck: the part that takes most of them.
    """

    jobs: Annotated[int, Field(ge=1)]
    seconds: Samples
    cpu_seconds: Samples
    stages: dict[str, Seconds]
    bottleneck: str


class ThroughputReport(Result):
    """What `lorair-bench throughput` measured. megapixels: of all pictures together."""

    kind: Literal["throughput"] = "throughput"
    backend: str
    pictures: Annotated[int, Field(ge=1)]
    megapixels: float
    runs: tuple[ThroughputRun, ...]


class CommandRun(Stored):
    """A whole command.

    seconds, cpu_seconds: of each run, from start to exit. peak_memory: the most bytes that one
    of its processes held; None where not known. output: the end of what the last run printed
    on stdout and stderr.
    """

    command: tuple[str, ...]
    seconds: Samples
    cpu_seconds: Samples
    p50: Seconds
    peak_memory: Bytes | None = None
    output: str = ""


class CommandsReport(Result):
    """What `lorair-bench commands` measured. sizes: bytes of files and folders afterwards."""

    kind: Literal["commands"] = "commands"
    runs: tuple[CommandRun, ...]
    sizes: dict[str, Bytes] = Field(default_factory=dict)


class ExpertRow(Sized):
    """A mixture of experts in one form, at one size, on one route.

    rank: of each expert. form: `merged`: the experts are merged into the weights for the
    route, beforehand; `gates`: the gates are an input, and the weights are merged at every
    run; `fused`: the kernels of the fused operators. samples: seconds of the restoration
    network in each round, in their order; position i of all rows with the same number of
    experts and size is the same round. bundle_bytes: graph and weights of the restorer in this
    form. switch_seconds: until another route can run; 0 where it is an input. note: for
    people, such as why nothing was timed.
    """

    experts: Annotated[int, Field(ge=1)]
    top_k: Annotated[int, Field(ge=1)]
    rank: Annotated[int, Field(ge=1)]
    form: Literal["merged", "gates", "fused"]
    samples: Samples = ()
    p50: Seconds | None = None
    interval: Interval | None = None
    peak_memory: Bytes | None = None
    bundle_bytes: Bytes | None = None
    switch_seconds: Seconds | None = None
    note: str = ""


class ExpertsReport(Result):
    """What `lorair-bench experts` measured. crossover: what follows from the rows, in words."""

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


class Device(Stored):
    """A GPU as the floors of kernels see it.

    bandwidth: of a copy, reading plus writing, in bytes a second. rate: of large fp16 matrix
    products with fp32 sums, in operations a second (a multiply-add is two).
    """

    name: str
    bandwidth: Annotated[float, Field(gt=0)]
    rate: Annotated[float, Field(gt=0)]


class LayerRow(Stored):
    """One fused operator at one place of the network.

    inputs, outputs: channels. height, width: of its input. count: how often the network has
    it. floor_ms: milliseconds that no kernel can beat; bound_by: what sets them. fused_ms: of
    our kernel; unfused_ms: of PyTorch's separate operators; merged_ms: of those with weights
    that were merged beforehand.
    """

    operator: str
    inputs: int
    outputs: int
    height: int
    width: int
    count: int
    bytes: Annotated[int, Field(gt=0)]
    operations: Annotated[int, Field(ge=0)]
    floor_ms: Annotated[float, Field(ge=0)]
    bound_by: str
    fused_ms: float | None = None
    unfused_ms: float | None = None
    merged_ms: float | None = None


class KernelSize(Stored):
    """One picture size on one device. network_ms: milliseconds of the whole network."""

    size: tuple[int, int]
    device: Device
    layers: Annotated[tuple[LayerRow, ...], Field(min_length=1)]
    network_ms: dict[str, float] | None = None

    @property
    def name(self) -> str:
        """Return the size and the device."""
        return f"{self.size[0]}x{self.size[1]}, {self.device.name}"

    def total(self, field: str) -> float:
        """Return a field of the layers summed over the network, each as often as it is there."""
        return float(sum(getattr(layer, field) * layer.count for layer in self.layers))


class KernelsReport(Result):
    """What `lorair-bench kernels` measured. compiled: the resources that each kernel takes."""

    kind: Literal["kernels"] = "kernels"
    preset: str
    dtype: str
    timed: bool
    sizes: tuple[KernelSize, ...]
    compiled: tuple[Row, ...] | None
