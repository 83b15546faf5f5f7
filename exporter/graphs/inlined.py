"""Graphs with the operators' bodies written out, for libraries that know standard ONNX only.

TensorRT's parser mishandles attributes that a body takes by reference, so it never gets to
see a function. PyTorch is not needed here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx
from onnx import inliner
from onnx.external_data_helper import load_external_data_for_model

from lorair.exporter.graphs.metadata import add_facts, facts_of
from lorair.kernels.onnx_functions import Target, bodies
from lorair.kernels.spec import DOMAIN, DOMAIN_VERSION, FORMS, LORA_MOE_CONV
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system.atomic import atomic_file

GATES: Final = "gates"
_KEPT: Final = "kept"
"""An overload that no function has, so that the inliner leaves the node alone."""


def inlined(graph: Path, target: Target, *, plugin: bool = False) -> onnx.ModelProto:
    """Return a graph with each operator's body in its place; weights stay outside.

    Args:
        graph: of the exporter, its functions for whatever target.
        target: of the bodies.
        plugin: whether operators that have a kernel stay as nodes, which TensorRT's parser
            gives to the plugins of the namespace `lorair`.
    """
    return inline(onnx.load(graph, load_external_data=False), target, plugin=plugin)


def inline(model: onnx.ModelProto, target: Target, *, plugin: bool = False) -> onnx.ModelProto:
    """Do the same for a graph that is loaded, which may be changed."""
    if model.functions:
        is_float32 = model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT
        del model.functions[:]
        model.functions.extend(bodies(target, float32=is_float32))
        kept = _keep(model) if plugin else []
        operators = {out: node.name for node in model.graph.node for out in node.output}
        model = inliner.inline_local_functions(model)
        _release(model, kept)
        _name_bodies(model, operators)
        _type_constants(model)
    _drop_absent_inputs(model)
    return model


def write_restorer(
    bundle: Bundle, output: Path, *, plugin: bool = False, batch: bool = False
) -> onnx.ModelProto:
    """Write a bundle's restorer as one file, its weights inside; return the graph.

    plugin: as for `inlined`. batch: whether it takes several pictures at once.
    """
    model = inlined(bundle.restorer, "reduce", plugin=plugin)
    add_facts(model, facts_of(bundle.manifest))
    if batch:
        give_batch(model)
    _write_whole(model, bundle, output)
    return model


def write_router(bundle: Bundle, output: Path) -> None:
    """Write a bundle's router as one file, its weights inside."""
    _write_whole(inlined(bundle.router, "reduce"), bundle, output)


def _write_whole(model: onnx.ModelProto, bundle: Bundle, output: Path) -> None:
    load_external_data_for_model(model, str(bundle.path))
    with atomic_file(output) as partial:
        onnx.save(model, partial)


def give_batch(model: onnx.ModelProto, count: int | None = None) -> None:
    """Let a restorer's graph of one picture take so many, or any number, which share the gates.

    Nothing else in it has the number of pictures in its shape.
    """
    for value in (*model.graph.input, *model.graph.output):
        if value.name != GATES:
            pictures = value.type.tensor_type.shape.dim[0]
            pictures.dim_param = "batch"
            if count is not None:
                pictures.dim_value = count
    del model.graph.value_info[:]


def _keep(model: onnx.ModelProto) -> list[str]:
    """Mark the nodes that have a kernel; their first results' names."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    kept = [node for node in model.graph.node if has_kernel(node, shapes)]
    for node in kept:
        node.overload = _KEPT
        node.attribute.append(onnx.helper.make_attribute("plugin_namespace", DOMAIN))
        node.attribute.append(onnx.helper.make_attribute("plugin_version", str(DOMAIN_VERSION)))
    return [node.output[0] for node in kept]


def _release(model: onnx.ModelProto, kept: list[str]) -> None:
    for node in model.graph.node:
        if node.output[0] in kept:
            node.ClearField("overload")


def has_kernel(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether a fused kernel computes this node.

    Args:
        node: of a graph.
        shapes: of its initializers.
    """
    if node.domain != DOMAIN or len(node.input) != len(FORMS[node.op_type].inputs):
        return False
    return node.op_type != LORA_MOE_CONV or shapes[node.input[1]][2:] == (1, 1)


def _name_bodies(model: onnx.ModelProto, operators: Mapping[str, str]) -> None:
    """Name the nodes of a body after its operator, `intro/LoRAMoEConv`, and what they compute.

    Args:
        model: just inlined; a body's values end in the number of their call (`kernel__7`).
        operators: the name of the node that computed a value before, by the value.
    """
    operator = ""
    for node in reversed(model.graph.node):  # a body's last node computes its operator's result
        value = node.output[0]
        operator = operators.get(value, operator)
        node.name = node.name or (
            value if value in operators else f"{operator}/{value.rpartition('__')[0]}"
        )


def _type_constants(model: onnx.ModelProto) -> None:
    """Write a body's `scale` as a tensor: a plain number without a type is float64 to onnxslim."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "value_float":
                number = onnx.helper.make_tensor("", onnx.TensorProto.FLOAT, [], [attribute.f])
                attribute.CopyFrom(onnx.helper.make_attribute("value", number))


def _drop_absent_inputs(model: onnx.ModelProto) -> None:
    """An optional input that is absent at the end of a list is dropped instead of named "".

    Both are ONNX; TensorRT's parser takes only the first for a convolution's bias.
    """
    for node in model.graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()
