"""Write a bundle's restorer as other graphs: fewer or merged experts, several pictures a run."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from lorair.exporter.graphs.inlined import GATES, inlined
from lorair.exporter.graphs.merged import give
from lorair.kernels.onnx_functions import Target
from lorair.runtime.backends.onnxruntime import import_onnxruntime
from lorair.runtime.bundle.manifest import RESTORER
from lorair.runtime.errors import InternalError
from lorair.runtime.pixels import Array

TARGETS: Final[dict[str, Target]] = {
    "onnxruntime": "cpu",
    "openvino": "reduce",
    "openvino-bf16": "reduce",
}
"""Backends that load any graph, and the operators' bodies that are fastest on each."""

_PER_EXPERT: Final = ("lora_A_list", "lora_B_list", "lora_bias")
"""Endings of the names of weights whose first axis is the experts."""


def write_gates(bundle: Path, backend: str, experts: int, path: Path) -> None:
    """Write a bundle's restorer with the gates as an input and the operators' bodies inlined.

    The bodies are those that suit the backend. Of the experts the first ones are kept. The weights
    of the new graph are in `PATH.data`.
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
    """Write the network that is left when the experts of a route are merged: standard ONNX.

    graph: of `write_gates`. gates: (E), the route. path: in the same folder; the weights are in
    `PATH.data`. Raises InternalError if ONNX Runtime cannot fold the graph.
    """
    import onnx

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
    model = onnx.load(graph, load_external_data=False)
    give(model.graph, GATES, gates)
    onnx.save(model, bound)
    try:
        library.InferenceSession(bound, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class but this
        raise InternalError(f"cannot merge the experts of {graph}", found=str(error)) from error
    finally:
        bound.unlink()


def write_batch(bundle: Path, backend: str, batch: int, gates: Array | None, path: Path) -> None:
    """Write a bundle's restorer for `batch` pictures at once, which share the gates.

    A free number of pictures would cost OpenVINO a part of its speed. gates: (E) to bind; None for
    gates as an input. The new graph reads its weights from beside it, by the bundle's name.
    """
    import onnx

    model = inlined(bundle / RESTORER, TARGETS[backend])
    for value in (*model.graph.input, *model.graph.output):
        if value.name != GATES:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    if gates is not None:
        give(model.graph, GATES, gates)
    onnx.save(model, path)


def size_on_disk(graph: Path) -> int:
    """Return the bytes of a graph and of its weights."""
    import onnx

    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    places = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    return sum(path.stat().st_size for path in (graph, *(graph.parent / p for p in places)))
