"""OpenVINO on the CPU: the fastest restorer there, in float32 or in bfloat16.

The router runs on ONNX Runtime where that is installed: it is the faster of the two there
(docs/decisions.md has the times).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np

from lorair.runtime.backends.backend import Branch, Run
from lorair.runtime.backends.graphs import Shapes, check_shapes
from lorair.runtime.backends.host import HostBackend, Part
from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError, BundleError, InternalError
from lorair.runtime.pixels import Array
from lorair.runtime.system import cache as graph_cache
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import describe_threads, is_installed

_DEVICE = "CPU"
_BLOB = "compiled.blob"
_GATES = "gates"
_BF16 = "openvino-bf16"


@cache
def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 (AVX512-BF16 or AMX)."""
    import openvino

    return "BF16" in openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> "OpenVINOBackend":
    """Open a bundle on the CPU; the name says in which precision."""
    return OpenVINOBackend(bundle, threads, "bf16" if name == _BF16 else "f32", jobs)


def lacks(name: str) -> str | None:
    """Return what the processor lacks; None if nothing."""
    if name != _BF16 or has_bfloat16():
        return None
    return "the processor has no bfloat16 arithmetic"


def unfit(name: str, bundle: Bundle) -> str | None:
    """Return why a bundle does not run on OpenVINO; None if it does."""
    is_there = bundle.restorer_for("openvino") is not None
    return None if is_there else "the bundle has no graph in OpenVINO's form; build it again"


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

    def shapes(self, wanted: Shapes) -> Shapes:
        """Sizes of its inputs and outputs; OpenVINO keeps no names of free ones."""
        found: Shapes = {}
        for port in (*self.compiled.inputs, *self.compiled.outputs):
            sizes = [d.get_length() if d.is_static else None for d in port.partial_shape]
            for name in port.names & wanted.keys():
                free = iter(d for d in wanted[name] if isinstance(d, str))
                found[name] = [next(free, "?") if d is None else d for d in sizes]
        return found

    @contextmanager
    def _request(self) -> Iterator[Any]:
        request = self._requests.get()
        try:
            yield request
        finally:
            self._requests.put(request)


class OpenVINOBackend(HostBackend):
    """Runs a bundle with OpenVINO's CPU plugin.

    Args:
        bundle: with the restorer in OpenVINO's form, as `lorair-export build` writes it.
        threads: None for one a core.
        precision: of the restorer's arithmetic; bf16 only where the processor has it.
        jobs: pictures at once, from threads of the caller's, which share the CPU's.
    """

    library = "openvino"

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None,
        precision: Literal["f32", "bf16"] = "f32",
        jobs: int = 1,
    ) -> None:
        require("run a bundle with OpenVINO", "openvino", "openvino")
        import openvino

        self._library, self._core = openvino, openvino.Core()
        self.precision = precision
        self.name = self.library if precision == "f32" else _BF16
        self._graph = _restorer_of(bundle, self.name)
        super().__init__(bundle, self._graph, threads, jobs)
        has_onnxruntime = is_installed("onnxruntime")
        self._router_backend = (
            OnnxRuntimeBackend(bundle, threads, jobs) if has_onnxruntime else None
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
        else:
            super().load_router()

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        if self._router_backend is not None:
            return self._router_backend.route(views)
        return super().route(views)

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph that has inner values as outputs; see `RunsGraphs`."""
        if branch == "router" and self._router_backend is not None:
            return self._router_backend.open_graph(branch, graph)
        precision = self.precision if branch == "restorer" else "f32"
        opened = _Graph(self._compile(self._read(graph), precision), jobs=1)
        return self._run_inner(branch, opened)

    def _general_graph(self) -> Path:
        return self._graph

    def _load(self, part: Part, path: Path, gates: Array | None = None) -> _Graph:
        if part == "restorer":
            compiled = self._cached(gates) or self._compile(self._bind(gates), self.precision)
        else:
            # The router in float32 whatever the restorer's precision: it decides the route.
            precision = "f32" if part == "router" else self.precision
            compiled = self._compile(self._read(path), precision)
        return _Graph(compiled, self.jobs)

    def _read(self, graph: Path) -> Any:
        try:
            return self._core.read_model(graph)
        except RuntimeError as error:
            raise BundleError(
                f"openvino cannot load {graph}",
                found=str(error),
                hint="build the bundle again with `lorair-export build`",
            ) from error

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

    def _config(self, precision: str) -> dict[str, Any]:
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads * self.jobs,
            "INFERENCE_PRECISION_HINT": precision,
        }
        # A stream is a picture in work; the hint alone would make one.
        return config if self.jobs == 1 else {**config, "NUM_STREAMS": self.jobs}


def _restorer_of(bundle: Bundle, name: str) -> Path:
    """The restorer's graph; raises BackendError if it, or the processor, cannot do it."""
    if lacks(name) is not None:
        raise BackendError(
            f"cannot use the backend {name}",
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
    return graph
