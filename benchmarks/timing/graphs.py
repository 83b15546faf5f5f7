"""Write a bundle's restorer as other graphs: fewer or merged experts, several pictures a run."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from lorair.exporter.graphs.inlined import GATES, give_batch, inlined
from lorair.exporter.graphs.merged import fold, give
from lorair.kernels.onnx_functions import Target
from lorair.runtime.bundle.manifest import RESTORER
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
    _save(model, path)


def _save(model: Any, path: Path) -> None:
    """Write a graph, and its weights into `PATH.data`; onnx would add to those that are there."""
    import onnx

    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=data.name, size_threshold=1024)


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
    `PATH.data`.
    """
    import onnx

    model = onnx.load(graph)
    give(model.graph, GATES, gates)
    fold(model)
    _save(model, path)


def write_batch(bundle: Path, backend: str, batch: int, gates: Array | None, path: Path) -> None:
    """Write a bundle's restorer for `batch` pictures at once, which share the gates.

    A free number of pictures would cost OpenVINO a part of its speed. gates: (E) to bind; None for
    gates as an input. The new graph reads its weights from beside it, by the bundle's name.
    """
    import onnx

    model = inlined(bundle / RESTORER, TARGETS[backend])
    give_batch(model, batch)
    if gates is not None:
        give(model.graph, GATES, gates)
    onnx.save(model, path)


def size_on_disk(graph: Path) -> int:
    """Return the bytes of a graph and of its weights."""
    import onnx

    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    places = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    return sum(path.stat().st_size for path in (graph, *(graph.parent / p for p in places)))
