"""Where the time goes, stage by stage, file to file.

Backends are run in turn within each round, so that a noisy machine hurts all alike.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorair.exporter import photos
from lorair.runtime import images
from lorair.runtime.restorer import Restorer

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
    """

    backend: str
    description: str
    size: Size
    first: dict[str, float]
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
    restorers: dict[str, Restorer],
    sizes: Sequence[Size],
    iterations: int,
    on_round: Callable[[], None] = lambda: None,
) -> Iterator[Measurement]:
    """Time each backend at each size.

    One untimed iteration a backend and size comes first: it loads graphs, allocates, and
    is reported as `first`.

    Args:
        restorers: by backend name, all of the same bundle.
        sizes: a shipped photograph is resized to each.
        iterations: timed rounds, at least 1.
        on_round: called after each iteration of each backend.
    """
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            source = Path(folder) / f"{size}.png"
            photograph(size).save(source)
            target = Path(folder) / "restored.png"
            yield from _measure_size(restorers, size, source, target, iterations, on_round)


def photograph(size: Size) -> Image.Image:
    """A real photograph, resized."""
    with Image.open(photos.paths()[0]) as image:
        return image.convert("RGB").resize((size.width, size.height), Image.Resampling.BICUBIC)


def _measure_size(
    restorers: dict[str, Restorer],
    size: Size,
    source: Path,
    target: Path,
    iterations: int,
    on_round: Callable[[], None],
) -> Iterator[Measurement]:
    measurements = []
    for name, restorer in restorers.items():
        first = _run_once(restorer, source, target)
        description = restorer.backend.description
        measurements.append(Measurement(name, description, size, first))
        on_round()
    for _ in range(iterations):
        for measurement in measurements:
            seconds = _run_once(restorers[measurement.backend], source, target)
            for stage in STAGES:
                measurement.samples.setdefault(stage, []).append(seconds[stage])
            measurement.samples.setdefault("total", []).append(sum(seconds.values()))
            on_round()
    yield from measurements


def _run_once(restorer: Restorer, source: Path, target: Path) -> dict[str, float]:
    start = time.perf_counter()
    picture = images.read(source)
    decoded = time.perf_counter()
    restored = restorer.restore(picture.pixels)
    encoding = time.perf_counter()
    images.write(target, picture.with_pixels(restored.image))
    end = time.perf_counter()
    return {"decode": decoded - start, **restored.seconds, "encode": end - encoding}
