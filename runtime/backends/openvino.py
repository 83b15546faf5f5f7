"""OpenVINO on the CPU: the fastest restorer there, in float32 or in bfloat16.

The router runs on ONNX Runtime where that is installed: it is the faster of the two there
(docs/decisions.md has the times).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

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
from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend
from lorair.runtime.backends.tiles import Means, TileInputs
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError, BundleError, DependencyError, InternalError
from lorair.runtime.system import cache as graph_cache
from lorair.runtime.system.machine import (
    available_memory,
    describe_threads,
    is_installed,
    threads_each,
)

Array = npt.NDArray[np.float32]

_DEVICE = "CPU"
_BLOB = "compiled.blob"
_GATES = "gates"


@cache
def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 (AVX512-BF16 or AMX)."""
    import openvino

    return "BF16" in openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


class _Graph:
    """A compiled graph with a request, which holds the memory of a run, for each job."""

    def __init__(self, compiled: Any, jobs: int) -> None:
        self.compiled = compiled
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(jobs):
            self._requests.put(compiled.create_infer_request())

    def run(self, inputs: dict[str, Any]) -> list[Array]:
        """Outputs in order, copied: the request's memory is used again."""
        with self._request() as request:
            results = request.infer(inputs, share_inputs=True, share_outputs=True)
            return [np.array(results[output]) for output in self.compiled.outputs]

    @contextmanager
    def _request(self) -> Iterator[Any]:
        request = self._requests.get()
        try:
            yield request
        finally:
            self._requests.put(request)


class OpenVINOBackend:
    """Runs a bundle with OpenVINO's CPU plugin.

    Args:
        bundle: with the restorer in OpenVINO's form, as `lorair-export build` writes it.
        threads: None for the cores at hand.
        jobs: pictures at once, from threads of the caller's, which share the CPU's.
        precision: of the restorer's arithmetic; bf16 only where the processor has it.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None,
        precision: Literal["f32", "bf16"] = "f32",
        jobs: int = 1,
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise DependencyError(
                "cannot run a bundle with OpenVINO",
                wanted="the package openvino",
                found="it is not installed",
                hint="pip install 'lorair[openvino]'",
            ) from error
        self._library = openvino
        self._core = openvino.Core()
        self.walk = None
        self.precision = precision
        self.name = "openvino" if precision == "f32" else "openvino-bf16"
        if precision == "bf16" and not has_bfloat16():
            raise BackendError(
                f"cannot use the backend {self.name}",
                wanted="a processor with bfloat16 arithmetic (AVX512-BF16 or AMX)",
                found="one without",
                hint="use --backend openvino",
            )
        graph = bundle.restorer_for("openvino")
        if graph is None:
            raise BackendError(
                f"cannot run {bundle.path} with OpenVINO",
                wanted="restorer.openvino.onnx in it",
                found="a bundle of an older lorair",
                hint="build it again with `lorair-export build`",
            )
        self._bundle, self._graph = bundle, graph
        self.threads, self.jobs = threads_each(threads, jobs), jobs
        self._lock = threading.Lock()
        self._router: _Graph | None = None
        self._tiles: _Graph | None = None
        self._tiled_graph = bundle.tiles_for("openvino")
        has_onnxruntime = is_installed("onnxruntime")
        self._router_backend = (
            OnnxRuntimeBackend(bundle, threads, jobs) if has_onnxruntime else None
        )
        self._restorers: BoundGraphs[_Graph] = BoundGraphs(
            self._load_restorer, lambda: self._load_restorer(None)
        )

    @property
    def description(self) -> str:
        """Libraries, versions, device and threads."""
        version = self._library.__version__.split("-")[0]
        threads = describe_threads(self.threads, self.jobs)
        text = f"openvino {version} {self.precision}, CPU, {threads}"
        if self._router_backend is None:
            return text
        library = self._router_backend.description.split(",")[0]
        return f"{text}; router on {library}"

    def load_router(self) -> None:
        """Load the router's graph, unless it is loaded."""
        if self._router_backend is not None:
            self._router_backend.load_router()
            return
        with self._lock:
            if self._router is None:
                # In float32 whatever the restorer's precision: it decides the route.
                graph = self._bundle.router
                compiled = self._compile(self._read(graph), "f32")
                self._check(graph, compiled, router_shapes(self._bundle.manifest.model))
                self._router = _Graph(compiled, self.jobs)

    def load_restorer(self, gates: Array) -> None:
        """Compile the restoration network's graph for these gates (E), unless it is."""
        self._restorers.get(gates)

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        self.load_router()
        if self._router_backend is not None:
            return self._router_backend.route(views)
        assert self._router is not None
        logits, prior, gates = self._run(self._router, {"views": views}, "the router's views")
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        graph, takes_gates = self._restorers.get(gates)
        inputs = {"image": image, "prior": prior}
        if takes_gates:
            inputs[_GATES] = gates
        height, width = image.shape[2:]
        return self._run(graph, inputs, f"a picture of {width}x{height}")[0]

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph that has inner values as outputs; see `RunsGraphs`."""
        if branch == "router" and self._router_backend is not None:
            return self._router_backend.open_graph(branch, graph)
        precision = self.precision if branch == "restorer" else "f32"
        opened = _Graph(self._compile(self._read(graph), precision), jobs=1)
        return lambda inputs: self._run(opened, inputs, f"the {branch}'s inner values")

    @property
    def shares_means(self) -> bool:
        """As `Backend` says."""
        return self._tiled_graph is not None

    def restore_tile(self, tile: TileInputs, means: Means | None) -> tuple[Array, Means]:
        """As `Backend` says."""
        graph = self._open_tiles()
        count = graph.compiled.outputs[1].shape[1]
        restored, pooled = self._run(graph, tile.feed(means, count), tile.name)
        return restored, pooled

    def largest_tile(self) -> None:
        """As `Backend` says: only memory limits it."""

    def free_memory(self) -> int | None:
        """As `Backend` says."""
        return available_memory()

    def _open_tiles(self) -> _Graph:
        with self._lock:
            if self._tiles is None:
                path = self._tiled_graph
                assert path is not None
                compiled = self._compile(self._read(path), self.precision)
                ports = {n: list(p.partial_shape) for p in compiled.outputs for n in p.names}
                pooled = {"pooled": [size.get_length() for size in ports["pooled"]]}
                self._check(path, compiled, tiled_shapes(self._bundle.manifest.model, pooled))
                self._tiles = _Graph(compiled, self.jobs)
            return self._tiles

    def _run(self, graph: _Graph, inputs: dict[str, Any], what: str) -> list[Array]:
        try:
            return graph.run(inputs)
        except (RuntimeError, MemoryError) as error:
            raise run_failure("openvino", what, error) from error

    def _read(self, graph: Path) -> Any:
        try:
            return self._core.read_model(graph)
        except RuntimeError as error:
            raise BundleError(
                f"openvino cannot load {graph}",
                found=str(error),
                hint="build the bundle again with `lorair-export build`",
            ) from error

    def _load_restorer(self, gates: Array | None) -> _Graph:
        compiled = self._cached(gates) or self._compile(self._bind(gates), self.precision)
        wanted = restorer_shapes(self._bundle.manifest.model, bound=gates is not None)
        self._check(self._graph, compiled, wanted)
        return _Graph(compiled, self.jobs)

    def _cached(self, gates: Array | None) -> Any:
        """Compiled once, then kept; None if it is not worth it, or went wrong."""
        if self._bundle.weights_size < graph_cache.WORTHWHILE:
            return None
        content, version = self._bundle.content(self._graph), self._library.__version__
        bound = None if gates is None else gates.tobytes().hex()
        name = graph_cache.entry_name(self.name, version, content, self.threads, self.jobs, bound)
        made: list[Any] = []

        def make(folder: Path) -> None:
            made.append(self._compile(self._bind(gates), self.precision))
            (folder / _BLOB).write_bytes(made[0].export_model().getvalue())

        entry = graph_cache.fetch(name, make)
        if made or entry is None:
            return made[0] if made else None
        try:
            return self._import(entry / _BLOB)
        except (OSError, RuntimeError):
            graph_cache.forget(entry)
            return None

    def _import(self, blob: Path) -> Any:
        # Read, not mapped: a shared tensor does not keep its memory alive.
        return self._core.import_model(blob.read_bytes(), _DEVICE, self._config(self.precision))

    def _bind(self, gates: Array | None) -> Any:
        """The restorer with these gates as a constant, or with None as an input."""
        model = self._read(self._graph)
        opset = self._library.opset13
        placeholder = next(op for op in model.get_ops() if op.friendly_name == _GATES)
        experts = self._bundle.manifest.model.experts
        check_shapes(self._graph, {_GATES: list(placeholder.shape)}, {_GATES: [experts]})
        if gates is None:
            source = opset.parameter(list(placeholder.shape), np.float32, name=_GATES)
            source.output(0).tensor.set_names({_GATES})
        else:
            source = opset.constant(gates, np.float32)
        for use in placeholder.output(0).get_target_inputs():
            use.replace_source_output(source.output(0))
        if gates is None:
            model.add_parameters([source])
        model.validate_nodes_and_infer_types()
        return model

    def _compile(self, model: Any, precision: str) -> Any:
        try:
            return self._core.compile_model(model, _DEVICE, self._config(precision))
        except RuntimeError as error:
            raise InternalError(
                f"openvino cannot compile a graph of {self._bundle.path}",
                found=str(error),
                hint="try --backend onnxruntime",
            ) from error

    def _check(self, graph: Path, compiled: Any, wanted: Shapes) -> None:
        """OpenVINO keeps no names of free sizes: they are taken as wanted."""
        found: Shapes = {}
        for port in (*compiled.inputs, *compiled.outputs):
            names = [name for name in wanted if name in port.names]
            sizes = [d.get_length() if d.is_static else None for d in port.partial_shape]
            for name in names:
                free = iter(d for d in wanted[name] if isinstance(d, str))
                found[name] = [next(free, "?") if d is None else d for d in sizes]
        check_shapes(graph, found, wanted)

    def _config(self, precision: str) -> dict[str, Any]:
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads * self.jobs,
            "INFERENCE_PRECISION_HINT": precision,
        }
        # A stream is a picture in work; the hint alone would make one.
        return config if self.jobs == 1 else {**config, "NUM_STREAMS": self.jobs}
