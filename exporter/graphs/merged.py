"""The restorer merged for good: plain convolutions with constant weights, standard ONNX only.

`image (1, 3, H, W), prior (1, P) -> restored (1, 3, H, W)`; with a prior given, `image` is
the only input. What depends on the gates (and on the prior) is computed here, once, so any
runtime packs the weights and takes its best kernels. PyTorch is not needed.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lorair.exporter.graphs.inlined import GATES, inlined
from lorair.kernels.spec import FORMS
from lorair.runtime.backends.onnxruntime import import_onnxruntime, session_options
from lorair.runtime.pixels import Array

PRIOR: Final = "prior"


def merged(restorer: Path, gates: Array, prior: Array | None = None) -> onnx.ModelProto:
    """Return a restorer's graph under fixed gates, its weights inside.

    Args:
        restorer: of the exporter, in a bundle; its weights lie beside it.
        gates: (E,) float32.
        prior: (P,) float32; None leaves it an input.
    """
    names = _convolutions(onnx.load(restorer, load_external_data=False).graph)
    model = inlined(restorer, "reduce")
    onnx.load_external_data_for_model(model, str(restorer.parent))
    graph = model.graph
    _name_weights(graph, names)
    _resolve_types(graph)
    give(graph, GATES, np.asarray(gates, np.float32))
    if prior is not None:
        give(graph, PRIOR, np.asarray(prior, np.float32)[None])
    fold(model)
    return model


def give(graph: onnx.GraphProto, name: str, value: Array) -> None:
    """Make an input a constant."""
    graph.input.remove(next(given for given in graph.input if given.name == name))
    graph.initializer.append(numpy_helper.from_array(value, name))


def take_any_size(graph: onnx.GraphProto, stride: int) -> None:
    """Pad pictures to multiples of the stride, zero right and below, and crop the result."""
    image, restored = graph.input[0], graph.output[0]
    _rename(graph, {image.name: "padded", restored.name: "restored_padded"})
    constants = {"stride": [stride] * 2, "before": [0] * 6, "origin": [0, 0], "axes": [2, 3]}
    graph.initializer.extend(
        helper.make_tensor(f"size/{name}", onnx.TensorProto.INT64, [len(values)], values)
        for name, values in constants.items()
    )
    pad = [
        helper.make_node("Shape", [image.name], ["size"], "size", start=2),
        helper.make_node("Neg", ["size"], ["size/negative"], "size/negative"),
        helper.make_node("Mod", ["size/negative", "size/stride"], ["size/missing"], "size/missing"),
        helper.make_node("Concat", ["size/before", "size/missing"], ["size/pads"], "pads", axis=0),
        helper.make_node("Pad", [image.name, "size/pads"], ["padded"], "pad"),
    ]
    crop = ["restored_padded", "size/origin", "size", "size/axes"]
    nodes = [*pad, *graph.node, helper.make_node("Slice", crop, [restored.name], "crop")]
    _replace(graph.node, nodes)
    for value in (image, restored):
        for axis, side in ((2, "h"), (3, "w")):
            value.type.tensor_type.shape.dim[axis].dim_param = side


def name_ends(graph: onnx.GraphProto, given: str, made: str) -> None:
    """Name the picture's input and output anew."""
    names = {graph.input[0].name: given, graph.output[0].name: made}
    _rename(graph, names)
    graph.input[0].name, graph.output[0].name = given, made


def clamp(graph: onnx.GraphProto) -> None:
    """Keep the result within [0, 1]."""
    restored = graph.output[0]
    _rename(graph, {restored.name: "unclamped"})
    graph.initializer.extend(
        helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value])
        for name, value in (("black", 0.0), ("white", 1.0))
    )
    ends = ["unclamped", "black", "white"]
    graph.node.append(helper.make_node("Clip", ends, [restored.name], "clamp"))


def _resolve_types(graph: onnx.GraphProto) -> None:
    """Name the type of each `CastLike`: float16, in all bodies."""
    for node in graph.node:
        if node.op_type == "CastLike":
            node.op_type = "Cast"
            node.input.pop()
            node.attribute.append(helper.make_attribute("to", onnx.TensorProto.FLOAT16))


def fold(model: onnx.ModelProto) -> None:
    """Compute all of a graph that depends on constants only, with ONNX Runtime, as it stands."""
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    constant: list[onnx.NodeProto] = []
    rest: list[onnx.NodeProto] = []
    for node in graph.node:
        is_constant = known.issuperset(filter(None, node.input))
        (constant if is_constant else rest).append(node)
        known.update(node.output if is_constant else ())
    used = {name for node in rest for name in node.input} & known
    made = sorted(used & {name for node in constant for name in node.output})
    needed = {name for node in constant for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    outputs = [onnx.ValueInfoProto(name=name) for name in made]
    part = helper.make_graph(constant, "constant", [], outputs, tensors)
    onnxruntime, options = import_onnxruntime(), session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    whole = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options)
    values = zip(made, session.run(made, {}), strict=True)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(np.asarray(value), name) for name, value in values]
    _replace(graph.initializer, kept)
    for node in rest:
        node.name = node.name or node.output[0]
    _replace(graph.node, rest)


def _convolutions(graph: onnx.GraphProto) -> list[str]:
    """The modules of the convolutions, in order."""
    inputs = {operator: form.inputs for operator, form in FORMS.items() if "weight" in form.inputs}
    weights = (
        node.input[inputs[node.op_type].index("weight")]
        for node in graph.node
        if node.op_type in inputs
    )
    return [name.removesuffix(".conv.weight") for name in weights]


def _name_weights(graph: onnx.GraphProto, modules: list[str]) -> None:
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    names = {}
    for node, module in zip(convolutions, modules, strict=True):
        node.name = f"{module}/Conv"
        for value, kind in zip(node.input[1:], ("weight", "bias"), strict=False):
            names[value] = f"{module}.{kind}"
    _rename(graph, names)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]


def _replace(field: Any, messages: list[Any]) -> None:
    kept = [message.SerializeToString() for message in messages]
    del field[:]
    for message in kept:
        field.add().ParseFromString(message)
