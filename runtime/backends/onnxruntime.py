"""ONNX Runtime on the CPU: the backend that runs everywhere."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from lorair.runtime.backends.backend import Branch, Run
from lorair.runtime.backends.graphs import GraphEach, Graphs, Shapes
from lorair.runtime.backends.host import HostBackend, LoadedGraph, Part
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError
from lorair.runtime.pixels import Array
from lorair.runtime.system import cache as graph_cache
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import describe_threads

_FATAL_ONLY = 4
_GRAPH = "graph.onnx"

MERGED_FORM = "openvino"
"""The bundle's form of the restorer for GPUs: statistics as reductions, which they do well."""

Open = Callable[[Path, Any], Any]
"""A graph and options -> a session."""


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> "OnnxRuntimeBackend":
    """Open a bundle on the CPU."""
    return OnnxRuntimeBackend(bundle, threads, jobs)


class SessionGraph:
    """A session of ONNX Runtime."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, inputs: dict[str, Any]) -> list[Array]:
        """Inputs by name -> outputs in order."""
        outputs: list[Array] = self._session.run(None, inputs)
        return outputs

    def shapes(self, wanted: Shapes | None = None) -> Shapes:
        """Sizes of its inputs and outputs."""
        return shapes_of(self._session)


class OnnxRuntimeBackend(HostBackend):
    """Runs a bundle with ONNX Runtime's CPU provider.

    Args:
        bundle: to run.
        threads: of the CPU; None for one a core.
        jobs: pictures at once, from threads of the caller's, which share the CPU's.
    """

    name = library = "onnxruntime"

    def __init__(self, bundle: Bundle, threads: int | None, jobs: int = 1) -> None:
        self._library = import_onnxruntime()
        _share_arena()
        super().__init__(bundle, bundle.restorer_for(self.name), threads, jobs)

    @property
    def description(self) -> str:
        """Library, version, device and threads."""
        version = self._library.__version__
        return f"onnxruntime {version}, CPU, {describe_threads(self.threads, self.jobs)}"

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph that has inner values as outputs; see `RunsGraphs`."""
        options = self._options()
        # The default order computes what is small last, and holds all inner values until then.
        options.execution_order = self._library.ExecutionOrder.PRIORITY_BASED
        opened = SessionGraph(self._open(graph, options))
        return self._run_inner(branch, opened)

    def _load(self, part: Part, path: Path, gates: Array | None = None) -> LoadedGraph:
        """A session; the restorer's graph is optimised once and then kept."""
        session = None
        if part != "router" and self._bundle.weights_size >= graph_cache.WORTHWHILE:
            session = self._cached(path, gates)
        return SessionGraph(session or self._open(path, self._options(), gates))

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
        options = session_options()
        options.intra_op_num_threads = self.threads
        # A plan of a size's memory is one block, beside all that the arena keeps: twice as much.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        return options

    def _open(
        self, graph: Path, options: Any, gates: Array | None = None, opens: Open | None = None
    ) -> Any:
        if gates is not None:
            value = self._library.OrtValue.ortvalue_from_numpy(gates)
            options.add_external_initializers(["gates"], [value])
        try:
            return (opens or _on_cpu)(graph, options)
        except Exception as error:  # its exceptions share no base class but this
            raise BundleError(
                f"onnxruntime cannot load {graph}",
                found=str(error),
                hint="build the bundle again with `lorair-export build`",
            ) from error


class MergingBackend(OnnxRuntimeBackend):
    """Runs a bundle with a provider that must have merged weights: a graph for each gates."""

    def _restorer_graphs(self, graph: Path | None) -> Graphs[LoadedGraph]:
        path = self._bundle.restorer_for(MERGED_FORM)
        assert path is not None, "unfit() has said so"
        return GraphEach(lambda gates: self._load_bound(path, gates))

    def _tile_graphs(self) -> Graphs[LoadedGraph]:
        return GraphEach(lambda gates: self._load_tiles(gates, self._tiled_graph))


def _on_cpu(graph: Path, options: Any) -> Any:
    return import_onnxruntime().InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def session_options() -> Any:
    """Options of a session that logs nothing: its errors are raised."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    return options


def import_onnxruntime() -> Any:
    """Import the module. Raises DependencyError if it is not installed."""
    require("run a bundle", "cpu", "onnxruntime")
    import onnxruntime

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
