"""Restore several pictures of one size in one run, which the runtime itself never does.

A graph merges one set of gates, so the pictures of a batch share a route; each has a prior of
its own. The restorer's graph in a bundle takes one picture: here it is written anew for N.
"""

import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorair.benchmarks.timing.graphs import TARGETS, write_batch
from lorair.benchmarks.timing.runner import Runner
from lorair.exporter.graphs.inlined import GATES
from lorair.runtime import images
from lorair.runtime.backends import Run, RunsGraphs
from lorair.runtime.backends.graphs import BoundGraphs, FirstGates
from lorair.runtime.bundle.manifest import RESTORER
from lorair.runtime.errors import BackendError
from lorair.runtime.pixels import (
    Array,
    Pixels,
    as_uint8,
    check_finite,
    from_planes,
    make_views,
    to_planes,
)
from lorair.runtime.restorer import Restorer


class BatchRunner(Runner):
    """A runner that restores a file `batch` times at once, with a backend of `graphs.TARGETS`.

    reuse_route: whether only the first batch is routed. Raises BackendError for other backends.
    """

    def __init__(self, restorer: Restorer, batch: int, *, reuse_route: bool = False) -> None:
        self.name = restorer.backend.name
        self.description = f"{restorer.backend.description}, {batch} pictures a run"
        self.batch, self.reuse_route = batch, reuse_route
        self._restorer, self._backend = restorer, restorer.backend
        if self.name not in TARGETS or not isinstance(self._backend, RunsGraphs):
            raise BackendError(
                f"cannot time a batch on {self.name}",
                wanted=f"one of {', '.join(TARGETS)}",
                found=self.name,
                hint="leave --batch out; engines of several pictures are for other programs",
            )
        self._open_graph = self._backend.open_graph
        self._manifest = restorer.bundle.manifest
        self._routed: tuple[Array, Array] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="lorair-bench-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._graphs: BoundGraphs[Run] = BoundGraphs(
            FirstGates(), self._load, lambda: self._load(None)
        )

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Restore one file N times; return the seconds of each stage, all pictures together."""
        watch, cpu = Stopwatch(), time.process_time()
        pictures = [images.read(source) for _ in range(self.batch)]
        watch.lap("decode")
        restored = self.restore([picture.pixels for picture in pictures], watch)
        for number, (picture, pixels) in enumerate(zip(pictures, restored, strict=True)):
            path = target if number == 0 else target.with_stem(f"{target.stem}-{number}")
            images.write(path, picture.with_pixels(pixels))
        watch.lap("encode")
        return {**watch.seconds, "cpu": time.process_time() - cpu}

    def restore(self, pictures: Sequence[Pixels], watch: "Stopwatch") -> list[Pixels]:
        """Restore `batch` pictures (H, W, 3) of one size and dtype on the first one's route."""
        prior, gates = self._route(pictures, watch)
        graph, takes_gates = self._graphs.get(gates)
        watch.lap("load")
        stride = self._manifest.model.stride
        planes = np.concatenate([to_planes(picture, stride) for picture in pictures])
        watch.lap("prepare")
        inputs = {"image": planes, "prior": prior}
        (restored,) = graph({**inputs, GATES: gates} if takes_gates else inputs)
        watch.lap("restorer")
        check_finite(restored, self._manifest.precision)
        out = [
            from_planes(one[None], picture.shape[:2], picture.dtype)
            for one, picture in zip(restored, pictures, strict=True)
        ]
        watch.lap("finish")
        return out

    def _route(self, pictures: Sequence[Pixels], watch: "Stopwatch") -> tuple[Array, Array]:
        """Prior (N, P) and the common gates (E)."""
        if self.reuse_route and self._routed is not None:
            return self._routed
        self._backend.load_router()
        watch.lap("load")
        side = self._manifest.model.clip_side
        views = np.concatenate([make_views(as_uint8(picture), side) for picture in pictures])
        watch.lap("views")
        _, prior, gates = self._backend.route(views)
        watch.lap("router")
        self._routed = prior, gates[0]
        return self._routed

    def _load(self, gates: Array | None) -> Run:
        data = f"{RESTORER}.data"
        if not (self._folder / data).exists():
            shutil.copy(self._restorer.bundle.path / data, self._folder / data)
        graph = self._folder / ("general.onnx" if gates is None else "bound.onnx")
        write_batch(self._restorer.bundle.path, self.name, self.batch, gates, graph)
        return self._open_graph("restorer", graph)


class Stopwatch:
    """A clock that sums the seconds between laps by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
