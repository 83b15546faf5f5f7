"""OpenVINO on the CPU, the fastest restorer there, and on Intel's GPUs and NPUs.

In bfloat16 OpenVINO runs both branches. Else the CPU's router runs on ONNX Runtime where that is
installed, which is the faster of the two (docs/decisions.md has the times); a GPU runs it itself,
in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

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

_BLOB = "compiled.blob"
_GATES = "gates"
_BF16 = "openvino-bf16"

KINDS: dict[str, tuple[str, str]] = {
    "openvino": ("CPU", "f32"),
    _BF16: ("CPU", "bf16"),
    "openvino-gpu": ("GPU", "f16"),
    "openvino-npu": ("NPU", "f16"),
}
"""Of each backend's name the library's device, and the precision of the restorer's arithmetic."""


@cache
def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 (AVX512-BF16 or AMX)."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> "OpenVINOBackend":
    """Open a bundle on the device and in the precision that the name says."""
    require("run a bundle with OpenVINO", "openvino", "openvino")
    return OpenVINOBackend(name, bundle, threads, jobs)


def lacks(name: str) -> str | None:
    """Return what the machine lacks; None if nothing."""
    if name == _BF16 and not has_bfloat16():
        return "the processor has no bfloat16 arithmetic"
    device, there = KINDS[name][0], _devices()
    is_there = any(found.partition(".")[0] == device for found in there)
    return None if is_there else f"no {device} among OpenVINO's devices ({', '.join(there)})"


@cache
def _devices() -> tuple[str, ...]:
    import openvino

    return tuple(openvino.Core().available_devices)


def is_faster(name: str) -> bool:
    """Whether `auto` may take it untimed: on the CPU, whose times are known."""
    return KINDS[name][0] == "CPU"


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
        return _shapes(self.compiled, wanted)

    @contextmanager
    def _request(self) -> Iterator[Any]:
        request = self._requests.get()
        try:
            yield request
        finally:
            self._requests.put(request)


class _GraphEachSize:
    """A graph that is compiled for each size of its inputs, the last ones kept: an NPU's."""

    def __init__(self, model: Any, compile: Callable[[Any], _Graph]) -> None:
        def compiled(*sizes: tuple[str, tuple[int, ...]]) -> _Graph:
            fixed = model.clone()
            fixed.reshape(dict(sizes))
            return compile(fixed)

        self._model, self._compiled = model, lru_cache(maxsize=4)(compiled)

    def run(self, inputs: dict[str, Any]) -> list[Array]:
        """Inputs by name -> outputs in order."""
        return self._compiled(*((name, value.shape) for name, value in inputs.items())).run(inputs)

    def shapes(self, wanted: Shapes) -> Shapes:
        """Sizes of its inputs and outputs."""
        return _shapes(self._model, wanted)


def _shapes(model: Any, wanted: Shapes) -> Shapes:
    found: Shapes = {}
    for port in (*model.inputs, *model.outputs):
        sizes = [d.get_length() if d.is_static else None for d in port.partial_shape]
        for name in port.names & wanted.keys():
            free = iter(d for d in wanted[name] if isinstance(d, str))
            found[name] = [next(free, "?") if d is None else d for d in sizes]
    return found


class OpenVINOBackend(HostBackend):
    """Runs a bundle with OpenVINO.

    Args:
        name: of the backend, by which device and precision are chosen.
        bundle: with the restorer in OpenVINO's form, as `lorair-export build` writes it.
        threads: of the CPU; None for one a core.
        jobs: pictures at once, from threads of the caller's, which share the CPU's.
    """

    library = "openvino"

    def __init__(self, name: str, bundle: Bundle, threads: int | None, jobs: int = 1) -> None:
        import openvino

        self._library, self._core = openvino, openvino.Core()
        self.name = name
        self._device, self.precision = KINDS[name]
        self._graph = _restorer_of(bundle, self.name)
        super().__init__(bundle, self._graph, threads, jobs)
        if self._device == "NPU":  # the part of a tile that is pooled is of any size
            self.shares_means = False
        # Products in int8 are the CPU's.
        is_int8 = bundle.manifest.router_precision is not None
        own_form = bundle.router_for(self.library) if is_int8 else bundle.router
        on_gpu = self._device == "GPU" and not is_int8
        is_here = on_gpu or (name == _BF16 and own_form is not None)
        is_other = is_installed("onnxruntime") and not is_here
        self._own_router = own_form or bundle.router
        self._router_device = self._device if on_gpu else "CPU"
        self._router_backend = OnnxRuntimeBackend(bundle, threads, jobs) if is_other else None

    @property
    def description(self) -> str:
        """Libraries, versions, device and threads."""
        version = self._library.__version__.split("-")[0]
        threads = describe_threads(self.threads, self.jobs)
        text = f"openvino {version} {self.precision}, {self._device}, {threads}"
        if self._router_backend is None:
            return text
        library = self._router_backend.description.split(",")[0]
        return f"{text}; router on {library}"

    @property
    def router_graph(self) -> Path:
        """The router's graph in the form that it runs."""
        return self._own_router if self._router_backend is None else self._bundle.router

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
        model = self._read(graph)
        is_restorer = branch == "restorer"
        compiled = self._compile(model) if is_restorer else self._compile_router(model)
        return self._run_inner(branch, _Graph(compiled, jobs=1))

    def _general_graph(self) -> Path:
        return self._graph

    def _bound_tiled_graph(self) -> Path | None:
        return self._bundle.restorer_for("webgpu", tiled=True)

    def _load(self, part: Part, path: Path, gates: Array | None = None) -> _Graph | _GraphEachSize:
        if part == "router":
            return _Graph(self._compile_router(self._read(path)), self.jobs)
        if self._device == "NPU":
            return _GraphEachSize(
                self._bind(path, gates), lambda fixed: _Graph(self._compile(fixed), self.jobs)
            )
        if part == "restorer":
            compiled = self._cached(gates) or self._compile(self._bind(path, gates))
        else:
            model = self._read(path) if gates is None else self._bind(path, gates)
            compiled = self._compile(model)
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
            made.append(self._compile(self._bind(self._graph, gates)))
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
        config = self._config(self._device, self.precision)
        return self._core.import_model(blob.read_bytes(), self._device, config)

    def _bind(self, graph: Path, gates: Array | None) -> Any:
        """A bound graph with these gates as a constant, or with None as an input."""
        model = self._read(graph)
        opset = self._library.opset13
        placeholder = next(op for op in model.get_ops() if op.friendly_name == _GATES)
        experts = self._bundle.manifest.model.experts
        check_shapes(graph, {_GATES: list(placeholder.shape)}, {_GATES: [experts]})
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

    def _compile_router(self, model: Any) -> Any:
        """In float32, since it decides the route, unless bfloat16 is asked for, as the authors do.

        Activations of int8 weights are quantized in groups of 1024 values: the full-size router
        took 3.2 s in bfloat16, with groups of 64 3.6 s, with 4096 4.5 s.
        """
        precision = "bf16" if self.precision == "bf16" else "f32"
        groups = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 1024} if self._router_device == "CPU" else {}
        return self._compile_on(self._router_device, model, precision, **groups)

    def _compile(self, model: Any) -> Any:
        return self._compile_on(self._device, model, self.precision)

    def _compile_on(self, device: str, model: Any, precision: str, **options: int) -> Any:
        config = {**self._config(device, precision), **options}
        try:
            return self._core.compile_model(model, device, config)
        except RuntimeError as error:
            raise InternalError(
                f"openvino cannot compile a graph of {self._bundle.path}",
                found=str(error),
                hint="try --backend onnxruntime",
            ) from error

    def _config(self, device: str, precision: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        if device == "CPU":
            config["INFERENCE_NUM_THREADS"] = self.threads * self.jobs
        # A stream is a picture in work; the hint alone would make one.
        return config if self.jobs == 1 or device == "NPU" else {**config, "NUM_STREAMS": self.jobs}


def _restorer_of(bundle: Bundle, name: str) -> Path:
    """The restorer's graph; raises BackendError if it, or the machine, cannot do it."""
    lacking = lacks(name)
    if lacking is not None:
        raise BackendError(
            f"cannot use the backend {name}", found=lacking, hint="use --backend openvino"
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
