"""The forms in which a mixture of experts can run, as graphs of one backend.

`merged`: the experts were merged into the weights for one route, before the graph was
loaded: an ordinary network. It is what a backend makes of the first route that it meets.
`gates`: the gates are an input, and the weights are merged at every run: what a backend runs
for every other route.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lorair.benchmarks.schema import Memory
from lorair.exporter.inlined import GATES, inlined
from lorair.kernels.onnx_functions import Target
from lorair.runtime import images
from lorair.runtime.backends import Backend, Run, RunsGraphs
from lorair.runtime.backends.onnxruntime import import_onnxruntime
from lorair.runtime.bundle import RESTORER
from lorair.runtime.errors import InternalError
from lorair.runtime.machine import peak_memory
from lorair.runtime.planes import to_planes
from lorair.runtime.restorer import Restorer

Array = npt.NDArray[np.float32]
Form = Literal["merged", "gates"]

TARGETS: Final[dict[str, Target]] = {
    "onnxruntime": "cpu",
    "openvino": "reduce",
    "openvino-bf16": "reduce",
}
"""Backends on which the forms can be timed, and the operators' bodies that each likes best."""

_PER_EXPERT: Final = ("lora_A_list", "lora_B_list", "lora_bias")
"""Ends of the names of weights whose first axis are the experts."""


def write_gates(bundle: Path, backend: str, experts: int, path: Path) -> None:
    """A bundle's restorer with the gates as an input, bodies written out.

    Args:
        bundle: of at least as many experts.
        backend: that likes its bodies.
        experts: how many of the bundle's to keep, the first ones.
        path: the new graph; its weights are in `PATH.data`.
    """
    import onnx

    model = inlined(bundle / RESTORER, TARGETS[backend])
    onnx.load_external_data_for_model(model, str(bundle))
    _keep_experts(model.graph, experts)
    onnx.save(
        model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024
    )


def _keep_experts(graph: Any, experts: int) -> None:
    from onnx import numpy_helper

    gates = next(value for value in graph.input if value.name == GATES)
    gates.type.tensor_type.shape.dim[0].dim_value = experts
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.name.endswith(_PER_EXPERT):
            kept = np.ascontiguousarray(numpy_helper.to_array(tensor)[:experts])
            tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))


def write_merged(graph: Path, gates: Array, path: Path) -> None:
    """The network that is left when a route's experts are merged: standard ONNX.

    Args:
        graph: of `write_gates`.
        gates: (E), the route.
        path: the new graph, in the same folder; its weights are in `PATH.data`.

    Raises:
        InternalError: ONNX Runtime could not fold the graph.
    """
    library = import_onnxruntime()
    options = library.SessionOptions()
    options.log_severity_level = 4
    # Basic: constants are folded, and nothing becomes a runtime's own operator.
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    for key, value in (("file_name", f"{path.name}.data"), ("min_size_in_bytes", "1024")):
        options.add_session_config_entry(
            f"session.optimized_model_external_initializers_{key}", value
        )
    bound = path.with_name(f"bound.{path.name}")
    _bind(graph, gates, bound)
    try:
        library.InferenceSession(bound, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class but this
        raise InternalError(f"cannot merge the experts of {graph}", found=str(error)) from error
    finally:
        bound.unlink()


def _bind(graph: Path, gates: Array, path: Path) -> None:
    """The graph with its gates a constant; the same weights file."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(graph, load_external_data=False)
    model.graph.input.remove(next(v for v in model.graph.input if v.name == GATES))
    model.graph.initializer.append(numpy_helper.from_array(gates, GATES))
    onnx.save(model, path)


def size_on_disk(graph: Path) -> int:
    """Bytes of a graph and of its weights."""
    import onnx

    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    places = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    return sum(path.stat().st_size for path in (graph, *(graph.parent / p for p in places)))


@dataclass(frozen=True)
class FormSpec:
    """A form to time. gates: of its route (E); None where the graph is merged."""

    bundle: Path
    backend: str
    graph: Path
    gates: tuple[float, ...] | None = None
    threads: int | None = None

    def runner(self) -> "FormRunner":
        """Load it."""
        return FormRunner(self)


@dataclass(frozen=True)
class MergeSpec:
    """Switching to another route, to time. graph: of `write_gates`."""

    bundle: Path
    backend: str
    graph: Path
    threads: int | None = None

    def runner(self) -> "MergeRunner":
        """Open the backend, and load nothing yet."""
        return MergeRunner(self)


class _Opened:
    """A backend in this process; a `runner.Runner` but for `run`."""

    def __init__(self, spec: FormSpec | MergeSpec) -> None:
        restorer = Restorer.open(spec.bundle, spec.backend, spec.threads)
        self.name, self.description = restorer.backend.name, restorer.backend.description
        self.model = restorer.bundle.manifest.model
        self._backend: Backend = restorer.backend

    def load(self, graph: Path) -> Run:
        assert isinstance(self._backend, RunsGraphs)
        return self._backend.open_graph("restorer", graph)

    def peak_memory(self) -> Memory:
        """Of this process."""
        return Memory(host=peak_memory())


class FormRunner(_Opened):
    """The restoration network in one form, without its router."""

    def __init__(self, spec: FormSpec) -> None:
        super().__init__(spec)
        draw = np.random.default_rng(0).normal
        self._inputs = {"prior": draw(0, 0.3, (1, self.model.prior)).astype(np.float32)}
        if spec.gates is not None:
            self._inputs[GATES] = np.array(spec.gates, np.float32)
        self._graph = self.load(spec.graph)

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Restore a picture into `.npy`, (1, 3, H, W) float32; seconds of the network alone."""
        image = to_planes(images.read(source).pixels, self.model.stride)
        start, cpu = time.perf_counter(), time.process_time()
        (restored,) = self._graph({"image": image, **self._inputs})
        end = time.perf_counter()
        np.save(target, restored)
        return {"restorer": end - start, "cpu": time.process_time() - cpu}


class MergeRunner(_Opened):
    """Merges experts and loads the network that results."""

    def __init__(self, spec: MergeSpec) -> None:
        super().__init__(spec)
        self._graph = spec.graph

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Merge for the gates in `source`, `.npy`, into the graph `target`, and load that."""
        gates = np.load(source)
        start, cpu = time.perf_counter(), time.process_time()
        write_merged(self._graph, gates, target)
        self.load(target)
        return {"switch": time.perf_counter() - start, "cpu": time.process_time() - cpu}
