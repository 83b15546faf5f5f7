"""Where the time goes, stage by stage, file to file.

Each backend has a process of its own; they run in turn within each round, so that a noisy
machine hurts all alike.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorair.benchmarks.runner import Runner
from lorair.exporter import photos

STAGES = ("decode", "views", "router", "prepare", "restorer", "finish", "encode")


@dataclass(frozen=True)
class Size:
    """Height and width of a picture in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Measurement:
    """Seconds of every timed iteration, by stage; `total` is the whole, file to file.

    first: the untimed iteration's stages, with the loading of the graphs.
    peak_memory: the most bytes that its process has held up to the end of this size.
    """

    backend: str
    description: str
    size: Size
    first: dict[str, float]
    peak_memory: int | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, float]]:
        """p50, p90, p99 and min of each stage, in milliseconds."""
        return {stage: percentiles(values) for stage, values in self.samples.items()}

    def to_dict(self) -> dict[str, Any]:
        """For the report file."""
        return {
            "backend": self.backend,
            "description": self.description,
            "height": self.size.height,
            "width": self.size.width,
            "first_seconds": self.first,
            "peak_memory_bytes": self.peak_memory,
            "milliseconds": self.summary(),
            "samples_seconds": self.samples,
        }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and min in milliseconds."""
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]) * 1000
    return {
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "min": min(seconds) * 1000,
    }


def measure(
    runners: Sequence[Runner],
    sizes: Sequence[Size],
    iterations: int,
    on_round: Callable[[], None] = lambda: None,
) -> Iterator[Measurement]:
    """Time each backend at each size.

    One untimed iteration a backend and size comes first: it loads graphs, allocates, and
    is reported as `first`.

    Args:
        runners: one a backend, all of the same bundle.
        sizes: a shipped photograph is resized to each; memory is known for each if they
            come in ascending order.
        iterations: timed rounds, at least 1.
        on_round: called after each iteration of each backend.
    """
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            source = Path(folder) / f"{size}.png"
            photograph(size).save(source)
            target = Path(folder) / "restored.png"
            for runner, timed in _measure_size(runners, size, source, target, iterations, on_round):
                yield replace(timed, peak_memory=runner.peak_memory())


def photograph(size: Size) -> Image.Image:
    """A real photograph, resized."""
    with Image.open(photos.paths()[0]) as image:
        return image.convert("RGB").resize((size.width, size.height), Image.Resampling.BICUBIC)


def _measure_size(
    runners: Sequence[Runner],
    size: Size,
    source: Path,
    target: Path,
    iterations: int,
    on_round: Callable[[], None],
) -> list[tuple[Runner, Measurement]]:
    pairs = []
    for runner in runners:
        first = runner.run(source, target)
        pairs.append((runner, Measurement(runner.name, runner.description, size, first)))
        on_round()
    for _ in range(iterations):
        for runner, measurement in pairs:
            seconds = runner.run(source, target)
            for stage in STAGES:
                measurement.samples.setdefault(stage, []).append(seconds.get(stage, 0.0))
            measurement.samples.setdefault("total", []).append(sum(seconds.values()))
            on_round()
    return pairs
