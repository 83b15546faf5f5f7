"""What backends share whose ends are on the host: three graphs, each loaded when first run."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol

import numpy.typing as npt

from lorair.runtime.backends.backend import Branch, Run
from lorair.runtime.backends.graphs import (
    BoundGraphs,
    FirstGates,
    Graphs,
    Shapes,
    check_shapes,
    restorer_shapes,
    router_shapes,
    run_failure,
    tiled_shapes,
)
from lorair.runtime.backends.tiles import Means, PlainTiles, TileInputs
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.pixels import Array
from lorair.runtime.system.machine import threads_each

Part = Literal["router", "restorer", "tiles"]

_BYTES_A_CHANNEL: Final = {"onnxruntime": 48, "openvino": 60}
"""Memory of a run for each pixel and channel, by backend: the most of what was measured, and a
little more. Growth of the resident set's peak over what a run of 64x64 left, in a process each, by
`restore` and `restore_tile` with ONNX Runtime 1.31 and OpenVINO 2026.4 on 2026-11-30:

                    default model 512x512, 1024x1024        full size
    onnxruntime     whole 36.0, 38.1; tile 43.1, 44.8       whole 37.4 at 1024x1024
    openvino        whole 54.6, 46.5; tile 58.7, 50.5       whole 48.1 at 512x512
"""


class LoadedGraph(Protocol):
    """A graph that a library has loaded."""

    def run(self, inputs: dict[str, Any]) -> list[Array]:
        """Inputs by name -> outputs in order."""

    def shapes(self, wanted: Shapes) -> Shapes:
        """Sizes of its inputs and outputs.

        A library that keeps no names of free sizes takes them from what is wanted.
        """


class HostBackend(PlainTiles, ABC):
    """Runs a bundle with one library, from arrays of the host to arrays of the host.

    Args:
        bundle: to run.
        graph: the restorer's in the form that the library binds gates to; None if the bundle
            has none.
        threads: None for one a core.
        jobs: pictures at once, from threads of the caller's, which share the CPU's.
    """

    name: str
    library: ClassVar[str]
    walk = None

    def __init__(
        self, bundle: Bundle, graph: Path | None, threads: int | None, jobs: int = 1
    ) -> None:
        self._bundle, self._model = bundle, bundle.manifest.model
        self.threads, self.jobs = threads_each(threads, jobs), jobs
        self._lock = threading.Lock()
        self._router: LoadedGraph | None = None
        self._first = FirstGates()
        self._tiled_graph = bundle.restorer_for(self.library, tiled=True)
        self.shares_means = self._tiled_graph is not None
        self._restorers = self._restorer_graphs(graph)
        self._tiles = self._tile_graphs()

    @property
    @abstractmethod
    def description(self) -> str:
        """Library, version, device and threads."""

    @property
    def router_graph(self) -> Path:
        """The router's graph in the form that it runs."""
        return self._bundle.router

    @abstractmethod
    def _load(self, part: Part, path: Path, gates: Array | None = None) -> LoadedGraph:
        """Load a graph, with these gates (E) as constants, or with None as an input."""

    def _general_graph(self) -> Path:
        """The restorer's graph that takes the gates as an input."""
        return self._bundle.restorer

    def _restorer_graphs(self, graph: Path | None) -> Graphs[LoadedGraph]:
        return BoundGraphs(
            self._first,
            None if graph is None else lambda gates: self._load_bound(graph, gates),
            lambda: self._load_bound(self._general_graph(), None),
        )

    def _tile_graphs(self) -> Graphs[LoadedGraph]:
        bound = self._bound_tiled_graph()
        return BoundGraphs(
            self._first,
            None if bound is None else lambda gates: self._load_tiles(gates, bound),
            lambda: self._load_tiles(None, self._tiled_graph),
        )

    def _bound_tiled_graph(self) -> Path | None:
        """The graph for tiles in the form that the library binds gates to; None if none."""
        return None

    def load_router(self) -> None:
        """Load the router's graph, unless it is loaded."""
        with self._lock:
            if self._router is None:
                path = self.router_graph
                self._router = self._checked(
                    path, self._load("router", path), router_shapes(self._model)
                )

    def load_restorer(self, gates: Array) -> None:
        """Load the restoration network's graph for these gates (E), unless it is loaded."""
        self._restorers.get(gates)

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        self.load_router()
        assert self._router is not None
        with self._failing_on("the router's views"):
            logits, prior, gates = self._router.run({"views": views})
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        graph, takes_gates = self._restorers.get(gates)
        inputs = {"image": image, "prior": prior, **({"gates": gates} if takes_gates else {})}
        height, width = image.shape[2:]
        with self._failing_on(f"a picture of {width}x{height}"):
            return graph.run(inputs)[0]

    def restore_tile(self, tile: TileInputs, means: Means | None) -> tuple[Array, Means]:
        """As `Backend` says."""
        graph, takes_gates = self._tiles.get(tile.gates)
        inputs = tile.feed(means, _means(graph))
        if not takes_gates:
            del inputs["gates"]
        with self._failing_on(tile.name):
            restored, pooled = graph.run(inputs)
        return restored, pooled

    def bytes_a_pixel(self) -> float | None:
        """As `Backend` says."""
        measured = _BYTES_A_CHANNEL.get(self.name)
        return None if measured is None else measured * self._model.width

    def _run_inner(self, branch: Branch, graph: LoadedGraph) -> Run:
        """A branch's graph with inner values as outputs, to be run; see `RunsGraphs`."""

        def run(inputs: dict[str, Array]) -> list[npt.NDArray[Any]]:
            with self._failing_on(f"the {branch}'s inner values"):
                return list(graph.run(inputs))

        return run

    def _load_tiles(self, gates: Array | None, path: Path | None) -> LoadedGraph:
        assert path is not None
        graph = self._load("tiles", path, gates)
        wanted = tiled_shapes(self._model, _means(graph), bound=gates is not None)
        return self._checked(path, graph, wanted)

    def _load_bound(self, path: Path, gates: Array | None) -> LoadedGraph:
        wanted = restorer_shapes(self._model, bound=gates is not None)
        return self._checked(path, self._load("restorer", path, gates), wanted)

    def _checked(self, path: Path, graph: LoadedGraph, wanted: Shapes) -> LoadedGraph:
        check_shapes(path, graph.shapes(wanted), wanted)
        return graph

    @contextmanager
    def _failing_on(self, what: str) -> Iterator[None]:
        """Failures of the library say on what; no frame more on the way to it."""
        try:
            yield
        except Exception as error:  # the libraries' exceptions share no base class but this
            raise run_failure(self.library, what, error) from error


def _means(graph: LoadedGraph) -> int:
    """How many means a graph for tiles has; 0 if it has none and is no such graph."""
    count = graph.shapes({"pooled": []}).get("pooled", [1, 0])[1]
    return count if isinstance(count, int) else 0
