"""What a result file holds: one versioned JSON schema for every command of lorair-bench.

The format is written down in docs/results.md. Durations are in seconds, memory is in bytes.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from lorair.benchmarks.schema_parts import (
    Base64,
    Bytes,
    Count,
    Part,
    Row,
    Samples,
    Seconds,
    Yardstick,
)
from lorair.benchmarks.schema_parts import Environment as Environment
from lorair.benchmarks.schema_parts import Gpu as Gpu

SCHEMA_VERSION: Final = 2


class BundleRecord(Part):
    """A bundle that was measured.

    label: what its configurations call it. digest: of its manifest, None in converted files.
    precision: of both branches, as in `fp32, router int8`. source: where its weights came
    from. model: its shape, by the manifest's names.
    """

    label: str
    digest: str | None = None
    precision: str
    source: str
    model: Row = Field(default_factory=dict)


class Interval(Part):
    """A statistic's confidence interval."""

    low: Seconds
    high: Seconds
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Summary(Part):
    """One stage's samples without those of the warm-up, in seconds.

    interval: of the median (p50), by bootstrap. outliers: positions in the samples of
    values far from the median; they are counted in everything else.
    """

    count: Annotated[int, Field(ge=1)]
    p50: Seconds
    interval: Interval
    p90: Seconds
    p99: Seconds
    min: Seconds
    outliers: tuple[Count, ...] = ()


class Memory(Part):
    """The most bytes held up to the end of the configuration; None where not known."""

    host: Bytes | None = None
    device: Bytes | None = None


class Configuration(Part):
    """One thing that was timed.

    bundle: its label. batch: equal-size pictures in a run; all durations are those of the
    whole batch. first: the untimed first run's stages. samples: every timed run's
    stages, in the order of the rounds, and their sum `total`; `cold` the same of runs in
    fresh processes, with `start`. warmup: how many of the samples are left out of the
    summaries. psnr_db: against the run's reference picture.
    """

    bundle: str
    backend: str
    description: str
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] = 1
    first: dict[str, Seconds] = Field(default_factory=dict)
    samples: dict[str, Samples] = Field(default_factory=dict)
    warmup: Count = 0
    summary: dict[str, Summary] = Field(default_factory=dict)
    cold: dict[str, Samples] = Field(default_factory=dict)
    cold_summary: dict[str, Summary] = Field(default_factory=dict)
    memory: Memory = Memory()
    psnr_db: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """Height x width."""
        return f"{self.height}x{self.width}"

    @property
    def shape(self) -> str:
        """The size, and the batch if it is one."""
        return self.size if self.batch == 1 else f"{self.batch}x{self.size}"

    @property
    def rounds(self) -> int:
        """Timed rounds, those of the warm-up included."""
        return len(next(iter(self.samples.values()), ()))

    @model_validator(mode="after")
    def _agree(self) -> "Configuration":
        for samples in (self.samples, self.cold):
            if len({len(values) for values in samples.values()}) > 1:
                raise ValueError("stages with different numbers of samples")
        if self.warmup > self.rounds:
            raise ValueError(f"{self.warmup} samples of warm-up, but {self.rounds} in all")
        if not self.summary.keys() <= self.samples.keys():
            raise ValueError("a summary of a stage without samples")
        return self


class GpuState(Part):
    """What NVML said after a round: clocks in MHz, power in watts, temperature in °C."""

    name: str
    sm_clock: Count | None = None
    memory_clock: Count | None = None
    power: float | None = None
    temperature: Count | None = None


class Scores(Part):
    """A picture against its target: psnr* in dB; ssim* at most 1.

    *_y: on Y of YCbCr. *_authors: as the authors' script computes them; None in older files.
    """

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    psnr_authors: float | None = None
    ssim_authors: float | None = None


class Preview(Part):
    """Small versions of a picture, each a file in base64."""

    degraded: Base64
    restored: Base64
    truth: Base64
    format: Literal["jpeg"] = "jpeg"


class Picture(Part):
    """A restored picture, before and after."""

    name: str
    width: Count
    height: Count
    route: str
    before: Scores
    after: Scores
    preview: Preview | None = None


class Means(Part):
    """Over all pictures, or all of a group."""

    before: Scores
    after: Scores


class Published(Part):
    """What the authors published: for psnr_authors, ssim_authors, over so many pictures."""

    dataset: str
    psnr: float
    ssim: float
    pictures: Count
    source: str


class _Report(Part):
    """What every kind has.

    command: the arguments, the script's name first; empty if not known. date: of the start,
    ISO 8601 with its offset. complete: false if the run was interrupted; what it had
    measured by then is there.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    complete: bool = True
    command: tuple[str, ...] = ()
    date: str | None = None
    environment: Environment
    bundles: tuple[BundleRecord, ...] = ()
    settings: Row = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class LatencyReport(_Report):
    """`lorair-bench latency`. gpu_states: one for each GPU and round. yardstick: None without."""

    kind: Literal["latency"] = "latency"
    configurations: tuple[Configuration, ...]
    gpu_states: tuple[GpuState, ...] = ()
    yardstick: Yardstick | None = None

    @model_validator(mode="after")
    def _unique(self) -> "LatencyReport":
        names = [(c.bundle, c.backend, c.size, c.batch) for c in self.configurations]
        if len(set(names)) < len(names):
            raise ValueError("a configuration is there twice")
        if not {c.bundle for c in self.configurations} <= {b.label for b in self.bundles}:
            raise ValueError("a configuration of a bundle that is not listed")
        return self


class QualityReport(_Report):
    """`lorair-bench quality`.

    groups: the means of each data folder, where there were several. published: of the data
    set that the run was told it has.
    """

    kind: Literal["quality"] = "quality"
    pictures: tuple[Picture, ...]
    mean: Means | None
    groups: dict[str, Means] = Field(default_factory=dict)
    published: Published | None = None


class KernelSize(Part):
    """One picture size on one device; durations as named, `_ms` in milliseconds."""

    size: tuple[int, int]
    device: Row
    layers: tuple[Row, ...]
    network_ms: dict[str, float] | None = None


class KernelsReport(_Report):
    """`lorair-bench kernels`. compiled: what each kernel takes, None if it was not compiled."""

    kind: Literal["kernels"] = "kernels"
    preset: str
    dtype: str
    timed: bool
    sizes: tuple[KernelSize, ...]
    compiled: tuple[Row, ...] | None


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


class ThroughputReport(_Report):
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


class CommandsReport(_Report):
    """`lorair-bench commands`. sizes: bytes of files and folders after the last run."""

    kind: Literal["commands"] = "commands"
    runs: tuple[CommandRun, ...]
    sizes: dict[str, Bytes] = Field(default_factory=dict)


class TileRow(Part):
    """A picture in tiles against the same at once.

    tile: their side, pixels. psnr_db: of the values in [0, 255], not rounded. seam: the
    largest step of their difference between two neighbouring pixels, in levels of 255.
    """

    picture: str
    width: Count
    height: Count
    tile: Count
    psnr_db: float
    seam: float
    seconds: Seconds
    untiled_seconds: Seconds


class TilesReport(_Report):
    """`lorair-bench tiles`."""

    kind: Literal["tiles"] = "tiles"
    backend: str
    rows: tuple[TileRow, ...]


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


class ExpertsReport(_Report):
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
