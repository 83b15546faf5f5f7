"""The forms in which a mixture of experts can run, as graphs of one backend.

`merged`: the experts were merged into the weights for one route, before the graph was
loaded: an ordinary network. It is what a backend makes of the first route that it meets.
`gates`: the gates are an input, and the weights are merged at every run: what a backend runs
for every other route.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorair.benchmarks.timing.graphs import write_merged
from lorair.benchmarks.timing.runner import Runner, Spec
from lorair.exporter.graphs.inlined import GATES
from lorair.runtime import images
from lorair.runtime.backends import RunsGraphs
from lorair.runtime.pixels import to_planes


@dataclass(frozen=True, kw_only=True)
class FormSpec(Spec):
    """A form to time.

    gates: of the route (E); None where the graph is merged. merges: time the switch to another
    route instead; the graph is then one of `write_gates`.
    """

    graph: Path
    gates: tuple[float, ...] | None = None
    merges: bool = False

    def runner(self) -> Runner:
        """Open the backend, and load the form."""
        return MergeRunner(self) if self.merges else FormRunner(self)


class _Opened(Runner):
    """A backend in this process; a runner without `run`."""

    def __init__(self, spec: FormSpec) -> None:
        restorer = spec.open()
        self.name, self.description = restorer.backend.name, restorer.backend.description
        self.model, self.graph = restorer.bundle.manifest.model, spec.graph
        assert isinstance(restorer.backend, RunsGraphs)
        self._open_graph = restorer.backend.open_graph


class MergeRunner(_Opened):
    """A runner that merges experts and loads the resulting network."""

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Merge for the gates in `source`, a .npy file, into the graph `target`, and load it."""
        gates = np.load(source)
        start, cpu = time.perf_counter(), time.process_time()
        write_merged(self.graph, gates, target)
        self._open_graph("restorer", target)
        return {"switch": time.perf_counter() - start, "cpu": time.process_time() - cpu}


class FormRunner(_Opened):
    """The restoration network in one form, without its router."""

    def __init__(self, spec: FormSpec) -> None:
        super().__init__(spec)
        # Time does not depend on values; those of a trained prior are of this size.
        draw = np.random.default_rng(0).normal
        self.inputs = {"prior": draw(0, 0.3, (1, self.model.prior)).astype(np.float32)}
        if spec.gates is not None:
            self.inputs[GATES] = np.array(spec.gates, np.float32)
        self._run = self._open_graph("restorer", spec.graph)

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Restore a picture into a .npy file, (1, 3, H, W); return the network's seconds."""
        image = to_planes(images.read(source).pixels, self.model.stride)
        start, cpu = time.perf_counter(), time.process_time()
        (restored,) = self._run({"image": image, **self.inputs})
        end = time.perf_counter()
        np.save(target, restored)
        return {"restorer": end - start, "cpu": time.process_time() - cpu}
