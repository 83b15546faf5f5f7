"""The result of `lorair-bench latency`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorair.benchmarks.schema.parts import Bytes, Count, Result, Samples, Seconds, Sized
from lorair.runtime.bundle.files import Stored


class Interval(Stored):
    """A statistic's confidence interval."""

    low: Seconds
    high: Seconds
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Summary(Stored):
    """A summary of one stage's samples without those of the warm-up, in seconds.

    interval: of the median (p50), by bootstrap. outliers: positions in the samples of the
    values far from the median; nothing else leaves them out.
    """

    count: Annotated[int, Field(ge=1)]
    p50: Seconds
    interval: Interval
    p90: Seconds
    p99: Seconds
    min: Seconds
    outliers: tuple[Count, ...] = ()


class Memory(Stored):
    """The most bytes that a process has held so far; None where that is not known."""

    host: Bytes | None = None
    device: Bytes | None = None


class Configuration(Sized):
    """One bundle on one backend, timed at one size.

    bundle: its label. batch: pictures in a run; all durations are those of the whole batch.
    first: the stages of the first run, which is not counted. samples: the stages of every
    timed run in the order of the rounds, their sum `total` and the CPU time `cpu`; cold: the
    same for the first run of fresh processes, with `start`. warmup: how many of the first
    samples the summaries leave out. psnr_db: against the run's reference picture.
    """

    bundle: str
    backend: str
    description: str
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
    def shape(self) -> str:
        """Return the size, with the batch in front if there is one."""
        return self.size if self.batch == 1 else f"{self.batch}x{self.size}"

    @property
    def rounds(self) -> int:
        """Return the number of timed rounds, those of the warm-up included."""
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


class GpuState(Stored):
    """A GPU after a round, as NVML saw it: clocks in MHz, power in watts, temperature in °C."""

    name: str
    sm_clock: Count | None = None
    memory_clock: Count | None = None
    power: float | None = None
    temperature: Count | None = None


class LatencyReport(Result):
    """What `lorair-bench latency` measured. gpu_states: one for each GPU and round."""

    kind: Literal["latency"] = "latency"
    configurations: tuple[Configuration, ...]
    gpu_states: tuple[GpuState, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> "LatencyReport":
        names = [(c.bundle, c.backend, c.size, c.batch) for c in self.configurations]
        if len(set(names)) < len(names):
            raise ValueError("a configuration is there twice")
        if not {c.bundle for c in self.configurations} <= {b.label for b in self.bundles}:
            raise ValueError("a configuration of a bundle that is not listed")
        return self
