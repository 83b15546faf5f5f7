"""Time every stage of a restoration, from file to file.

Each backend has a process of its own. They take turns within each round, so that load on the
machine slows all of them alike.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from lorair.benchmarks.schema import nvml
from lorair.benchmarks.schema.latency import Configuration, GpuState, Memory
from lorair.benchmarks.schema.statistics import count_warmup, summarize_all
from lorair.benchmarks.timing.runner import ProcessRunner, Runner
from lorair.exporter import photos
from lorair.exporter.engines.sizes import Size

T = TypeVar("T")

STAGES = ("decode", "views", "router", "prepare", "restorer", "finish", "encode")
TOTAL = "total"
"""The sum of the stages."""
CPU = "cpu"
"""The process's CPU time in one run, all threads together; not a part of the total."""
START = "start"


@dataclass
class Series:
    """A configuration while it is timed: seconds of every stage, in the order of the rounds.

    bundle: its label. first: the untimed run's stages, with the loading of the graphs.
    cold: the stages of runs in fresh processes.
    """

    bundle: str
    runner: Runner
    size: Size
    first: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    cold: dict[str, list[float]] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    psnr_db: float | None = None

    def fresh(self) -> ProcessRunner:
        """Start another process like that of the runner."""
        assert self.runner.spec is not None
        return ProcessRunner(self.runner.spec)

    def to_configuration(self) -> Configuration:
        """Return the samples and what follows from them."""
        warmup = count_warmup(self.samples.get(TOTAL, []))
        runner = self.runner
        of_runner = {"backend": runner.name, "description": runner.description,
                     "batch": runner.batch}  # fmt: skip
        summaries = {
            "warmup": warmup,
            "summary": summarize_all(self.samples, warmup),
            "cold_summary": summarize_all(self.cold),
        }
        return Configuration.model_validate(
            {**vars(self), **vars(self.size), **of_runner, **summaries}
        )


@dataclass
class Session:
    """What a run has measured so far, also when it is interrupted.

    gpu_states: of each GPU after each round.
    """

    series: list[Series] = field(default_factory=list)
    gpu_states: list[GpuState] = field(default_factory=list)

    def configurations(self) -> tuple[Configuration, ...]:
        """Return the configurations that have run at least once."""
        return tuple(s.to_configuration() for s in self.series if s.first)

    def fields(self) -> dict[str, Any]:
        """Return the fields of the report that are known now."""
        return {"configurations": self.configurations(), "gpu_states": tuple(self.gpu_states)}


def measure(
    runners: Sequence[tuple[str, Runner]],
    sizes: Sequence[Size],
    iterations: int,
    session: Session,
    on_run: Callable[[], None] = lambda: None,
) -> None:
    """Time each backend at each size, into `session`, which gets every run's durations at once.

    One untimed run of each backend and size comes first: it loads graphs, allocates, and is
    reported as `first`. A shipped photograph is resized to each size; memory is known for each if
    they come in ascending order. runners: with their bundles' labels. on_run: called after each.
    """
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            source, target = write_photograph(size, Path(folder)), Path(folder) / "restored.png"
            series = [Series(label, runner, size) for label, runner in runners]
            session.series += series
            for one in series:
                one.first = one.runner.run(source, target)
                on_run()
            for number in range(iterations):
                for one in in_turn(series, number):
                    append(one.samples, one.runner.run(source, target), STAGES)
                    on_run()
                session.gpu_states += nvml.gpu_states()
            for one in series:
                one.memory = one.runner.peak_memory()


def measure_cold(runs: int, session: Session, on_run: Callable[[], None] = lambda: None) -> None:
    """Time the first picture of fresh processes, for every size in `session`, into it.

    `start` is from the process's creation until it can take a picture: Python, imports, the
    bundle's check. What is kept between processes (compiled graphs, the system's file cache)
    is warm.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "restored.png"
        for _ in range(runs):
            for one in session.series:
                source = write_photograph(one.size, Path(folder))
                begin = time.perf_counter()
                with one.fresh() as runner:
                    start = time.perf_counter() - begin
                    seconds = {START: start, **runner.run(source, target)}
                append(one.cold, seconds, (START, "load", *STAGES))
                on_run()


def in_turn(series: Sequence[T], number: int) -> list[T]:
    """Return the order of a round: the first one changes, and every second round is reversed.

    The idle threads of a library spin for a while after a run, which slows the next process on
    a busy machine: by a fifth, measured with equal processes in a fixed order.
    """
    first = number // 2 % len(series)
    order = [*series[first:], *series[:first]]
    return order[::-1] if number % 2 else order


def append(
    samples: dict[str, list[float]], seconds: dict[str, float], stages: Sequence[str]
) -> None:
    """Add the stages of one run, its total and CPU time; a stage that did not run took 0."""
    values = {TOTAL: whole(seconds), CPU: seconds[CPU]}
    for stage in (*stages, TOTAL, CPU):
        samples.setdefault(stage, []).append(values.get(stage, seconds.get(stage, 0.0)))


def whole(seconds: dict[str, float]) -> float:
    """Return the sum of the stages of one run."""
    return sum(value for stage, value in seconds.items() if stage != CPU)


def write_photograph(size: Size, folder: Path) -> Path:
    """Write a photograph, resized, as a PNG, unless it is there already; return its path."""
    path = folder / f"{size}.png"
    if not path.exists():
        with Image.open(photos.paths()[0]) as image:
            resized = image.convert("RGB").resize(
                (size.width, size.height), Image.Resampling.BICUBIC
            )
        resized.save(path)
    return path
