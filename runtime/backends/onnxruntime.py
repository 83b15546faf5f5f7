"""ONNX Runtime on the CPU: the backend that runs everywhere."""

import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorair.runtime.backends import Branch, Run
from lorair.runtime.backends.bound import BoundGraphs
from lorair.runtime.backends.failure import run_failure
from lorair.runtime.backends.graphs import (
    Shapes,
    check_shapes,
    restorer_shapes,
    router_shapes,
    tiled_shapes,
)
from lorair.runtime.backends.tiles import Means, TileInputs
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError, DependencyError
from lorair.runtime.system import cache as graph_cache
from lorair.runtime.system.machine import available_memory, describe_threads, threads_each

Array = npt.NDArray[np.float32]

_FATAL_ONLY = 4
_GRAPH = "graph.onnx"


class OnnxRuntimeBackend:
    """Runs a bundle with ONNX Runtime's CPU provider.

    Each graph is loaded when it is first run: with a known route the router never is.

    Args:
        bundle: to run.
        threads: of the CPU; None for the cores at hand.
        jobs: pictures at once, from threads of the caller's, which share the CPU's.
    """

    name = "onnxruntime"
    walk = None

    def __init__(self, bundle: Bundle, threads: int | None, jobs: int = 1) -> None:
        self._library = import_onnxruntime()
        _share_arena()
        self._bundle = bundle
        self._lock = threading.Lock()
        self._router: Any = None
        self._tiles: Any = None
        self._tiled_graph = bundle.tiles_for(self.name)
        bound = bundle.restorer_for(self.name)
        self._restorers: BoundGraphs[Any] = BoundGraphs(
            (lambda gates: self._load_restorer(bound, gates)) if bound else None,
            lambda: self._load_restorer(bundle.restorer, None),
        )
        self.threads, self.jobs = threads_each(threads, jobs), jobs

    @property
    def description(self) -> str:
        """Library, version, device and threads."""
        version = self._library.__version__
        return f"onnxruntime {version}, CPU, {describe_threads(self.threads, self.jobs)}"

    def load_router(self) -> None:
        """Load the router's graph, unless it is loaded."""
        with self._lock:
            if self._router is None:
                graph = self._bundle.router
                session = self._open(graph, self._options())
                check_shapes(graph, shapes_of(session), router_shapes(self._bundle.manifest.model))
                self._router = session

    def load_restorer(self, gates: Array) -> None:
        """Load the restoration network's graph for these gates (E), unless it is loaded."""
        self._restorers.get(gates)

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        self.load_router()
        logits, prior, gates = self._run(self._router, {"views": views}, "the router's views")
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        session, takes_gates = self._restorers.get(gates)
        inputs = {"image": image, "prior": prior}
        if takes_gates:
            inputs["gates"] = gates
        height, width = image.shape[2:]
        restored: Array = self._run(session, inputs, f"a picture of {width}x{height}")[0]
        return restored

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph that has inner values as outputs; see `RunsGraphs`."""
        options = self._options()
        # The default order computes what is small last, and holds all inner values until then.
        options.execution_order = self._library.ExecutionOrder.PRIORITY_BASED
        session = self._open(graph, options)
        return lambda inputs: self._run(session, inputs, f"the {branch}'s inner values")

    @property
    def shares_means(self) -> bool:
        """As `Backend` says."""
        return self._tiled_graph is not None

    def restore_tile(self, tile: TileInputs, means: Means | None) -> tuple[Array, Means]:
        """As `Backend` says."""
        session = self._open_tiles()
        count = session.get_outputs()[1].shape[1]
        restored, pooled = self._run(session, tile.feed(means, count), tile.name)
        return restored, pooled

    def largest_tile(self) -> None:
        """As `Backend` says: only memory limits it."""

    def free_memory(self) -> int | None:
        """As `Backend` says."""
        return available_memory()

    def _open_tiles(self) -> Any:
        with self._lock:
            if self._tiles is None:
                assert self._tiled_graph is not None
                session = self._load(self._tiled_graph, None)
                shapes = shapes_of(session)
                check_shapes(
                    self._tiled_graph, shapes, tiled_shapes(self._bundle.manifest.model, shapes)
                )
                self._tiles = session
            return self._tiles

    def _run(self, session: Any, inputs: dict[str, Any], what: str) -> list[Array]:
        try:
            outputs: list[Array] = session.run(None, inputs)
        except Exception as error:  # its exceptions share no base class but this
            raise run_failure("onnxruntime", what, error) from error
        return outputs

    def _load_restorer(self, graph: Path, gates: Array | None) -> Any:
        """A session with the gates bound, or with None as an input."""
        session = self._load(graph, gates)
        wanted = restorer_shapes(self._bundle.manifest.model, bound=gates is not None)
        check_shapes(graph, shapes_of(session), wanted)
        return session

    def _load(self, graph: Path, gates: Array | None) -> Any:
        """A session, its graph optimised once and then kept."""
        session = None
        if self._bundle.weights_size >= graph_cache.WORTHWHILE:
            session = self._cached(graph, gates)
        if session is None:
            session = self._open(graph, self._options(), gates)
        return session

    def _cached(self, graph: Path, gates: Array | None) -> Any:
        """A session of the optimised graph; None if caching is off or went wrong."""
        content, version = self._bundle.content(graph), self._library.__version__
        bound = None if gates is None else gates.tobytes().hex()
        name = graph_cache.entry_name(self.name, version, content, bound)
        entry = graph_cache.fetch(name, lambda folder: self._optimise(graph, gates, folder))
        if entry is None:
            return None
        options = self._options()
        options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return self._open(entry / _GRAPH, options)
        except BundleError:
            graph_cache.forget(entry)
            return None

    def _optimise(self, graph: Path, gates: Array | None, folder: Path) -> None:
        options = self._options()
        options.optimized_model_filepath = str(folder / _GRAPH)
        for key, value in (("file_name", f"{_GRAPH}.data"), ("min_size_in_bytes", "1024")):
            options.add_session_config_entry(
                f"session.optimized_model_external_initializers_{key}", value
            )
        self._open(graph, options, gates)

    def _options(self) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _FATAL_ONLY
        options.add_session_config_entry("session.use_env_allocators", "1")
        return options

    def _open(self, graph: Path, options: Any, gates: Array | None = None) -> Any:
        if gates is not None:
            value = self._library.OrtValue.ortvalue_from_numpy(gates)
            options.add_external_initializers(["gates"], [value])
        try:
            return self._library.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class but this
            raise BundleError(
                f"onnxruntime cannot load {graph}",
                found=str(error),
                hint="build the bundle again with `lorair-export build`",
            ) from error


def import_onnxruntime() -> Any:
    """The module. Raises DependencyError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "cannot run a bundle",
            wanted="the package onnxruntime",
            found="it is not installed",
            hint="pip install 'lorair[cpu]'",
        ) from error
    return onnxruntime


@cache
def _share_arena() -> None:
    """One arena for all sessions: what the router has freed, the restorer uses.

    It grows by what is asked for, not to the next power of two.
    """
    import onnxruntime as library

    kind = library.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    cpu = library.OrtMemoryInfo("Cpu", kind, 0, library.OrtMemType.DEFAULT)
    # Fails where the host program has registered one: its sessions and ours then share that.
    # onnxruntime's exceptions share no base class but this.
    with suppress(Exception):
        library.create_and_register_allocator(
            cpu, library.OrtArenaCfg({"arena_extend_strategy": 1})
        )


def shapes_of(session: Any) -> Shapes:
    """Of a session's inputs and outputs."""
    values = (*session.get_inputs(), *session.get_outputs())
    return {value.name: list(value.shape) for value in values}
