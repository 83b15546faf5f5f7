"""What a result file holds: one versioned JSON schema for every command of lorair-bench.

The format is written down in docs/results.md. Durations are in seconds, memory is in bytes.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Final = 2

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Samples = tuple[Seconds, ...]
Count = Annotated[int, Field(ge=0, strict=True)]
Bytes = Annotated[int, Field(ge=0)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
Value = bool | int | float | str | None
Row = dict[str, Value]


class _Part(BaseModel):
    # Readers ignore keys they do not know, so that a minor addition breaks nobody.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Gpu(_Part):
    """A GPU as the driver describes it. sm: compute capability times ten. memory: bytes."""

    name: str
    sm: int
    memory: Bytes


class Environment(_Part):
    """What was measured on. None: not known.

    cores: logical ones that the process may use. affinity: their numbers. cpu_quota: cores'
    worth of time that the container may use, None without a limit. cuda: the newest that the
    driver serves.
    """

    cpu: str
    cores: Count
    affinity: tuple[int, ...] | None = None
    cpu_quota: float | None = None
    memory: Bytes
    system: str
    python: str
    versions: dict[str, str]
    gpus: tuple[Gpu, ...] = ()
    gpu_driver: str | None = None
    cuda: str | None = None


class BundleRecord(_Part):
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


class Interval(_Part):
    """A statistic's confidence interval."""

    low: Seconds
    high: Seconds
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Summary(_Part):
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


class Memory(_Part):
    """The most bytes held up to the end of the configuration; None where not known."""

    host: Bytes | None = None
    device: Bytes | None = None


class Configuration(_Part):
    """One thing that was timed.

    bundle: its label. first: the untimed first run's stages. samples: every timed run's
    stages, in the order of the rounds, and their sum `total`; `cold` the same of runs in
    fresh processes, with `start`. warmup: how many of the samples are left out of the
    summaries. psnr_db: against the run's reference picture.
    """

    bundle: str
    backend: str
    description: str
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
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


class GpuState(_Part):
    """What NVML said after a round: clocks in MHz, power in watts, temperature in °C."""

    name: str
    sm_clock: Count | None = None
    memory_clock: Count | None = None
    power: float | None = None
    temperature: Count | None = None


class Scores(_Part):
    """A picture against its target: psnr, psnr_y in dB; ssim, ssim_y at most 1."""

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


class Preview(_Part):
    """Small versions of a picture, each a file in base64."""

    degraded: Base64
    restored: Base64
    truth: Base64
    format: Literal["jpeg"] = "jpeg"


class Picture(_Part):
    """A restored picture, before and after."""

    name: str
    width: Count
    height: Count
    route: str
    before: Scores
    after: Scores
    preview: Preview | None = None


class Means(_Part):
    """Over all pictures."""

    before: Scores
    after: Scores


class _Report(_Part):
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
    """`lorair-bench latency`. gpu_states: one for each GPU and round."""

    kind: Literal["latency"] = "latency"
    configurations: tuple[Configuration, ...]
    gpu_states: tuple[GpuState, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> "LatencyReport":
        names = [(c.bundle, c.backend, c.size) for c in self.configurations]
        if len(set(names)) < len(names):
            raise ValueError("a configuration is there twice")
        if not {c.bundle for c in self.configurations} <= {b.label for b in self.bundles}:
            raise ValueError("a configuration of a bundle that is not listed")
        return self


class QualityReport(_Report):
    """`lorair-bench quality`."""

    kind: Literal["quality"] = "quality"
    pictures: tuple[Picture, ...]
    mean: Means | None


class KernelSize(_Part):
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


class ThroughputRun(_Part):
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


Report = LatencyReport | ThroughputReport | QualityReport | KernelsReport
MODELS: Final[dict[str, type[Report]]] = {
    "latency": LatencyReport,
    "throughput": ThroughputReport,
    "quality": QualityReport,
    "kernels": KernelsReport,
}
