"""The router in int8, for CPUs."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

_LARGEST: Final = 64
"""Magnitude of a weight: on processors without VNNI the products of full 8-bit values
would saturate."""


def quantize_router(path: Path) -> None:
    """Replace a float32 `router.onnx` and its data by one whose matrix products are int8.

    Weights: signed, in the range of 7 bits, one scale a column. Activations: 8 bit, with the
    scale of each tensor taken as it runs ("dynamic"); a transformer's outliers differ from
    picture to picture, and no calibration set is needed. What is small and decides the route
    (patch embedding, projection, extractor, head) is no plain product, and stays float32.
    """
    # In memory: a file that is mapped cannot be replaced on Windows.
    model = ir.external_data.load_to_model(ir.load(path))
    _quantize(model.graph)
    with TemporaryDirectory(dir=path.parent) as folder:
        ir.save(model, Path(folder) / path.name, external_data=f"{path.name}.data")
        for file in Path(folder).iterdir():
            file.replace(path.parent / file.name)


def write_dequantized(path: Path, target: Path) -> None:
    """Write a quantized `router.onnx` once more, over the same data: float products of its weights.

    For OpenVINO, which has no kernel for the products of integers, but keeps such weights in int8
    and quantizes the activations by itself where that is faster.
    """
    model = ir.load(path)
    for node in list(model.graph):
        if node.op_type == "MatMulInteger":
            _dequantize(model.graph, node)
    for node in list(model.graph):
        if node.op_type == "DynamicQuantizeLinear":
            model.graph.remove(node, safe=True)
    ir.save(model, target)


def _dequantize(graph: ir.Graph, integers: ir.Node) -> None:
    """Undo `_quantize_product`, but for the weight's rounding."""
    quantized, int8, _ = integers.inputs
    assert quantized is not None
    activation = _maker(quantized).inputs[0]
    (cast,) = integers.outputs[0].consumers()
    (product,) = cast.outputs[0].consumers()
    both = _maker(product.inputs[1])
    weight = _named("DequantizeLinear", product, int8, both.inputs[1], axis=1)
    graph.insert_before(product, weight)
    product.op_type = "MatMul"
    for i, value in enumerate((activation, weight.outputs[0])):
        product.replace_input_with(i, value)
    graph.remove([cast, integers, both], safe=True)


def _maker(value: ir.Value | None) -> ir.Node:
    assert value is not None
    node = value.producer()
    assert node is not None
    return node


def _quantize(graph: ir.Graph) -> None:
    taken: dict[ir.Value, ir.Node] = {}
    for node in list(graph):
        if node.op_type == "MatMul":
            activation, weight = node.inputs
            assert activation is not None
            assert weight is not None
            if weight.is_initializer():
                if activation not in taken:
                    taken[activation] = _quantized_activation(activation)
                    graph.insert_before(node, taken[activation])
                _quantize_product(graph, node, taken[activation], weight)


def _quantized_activation(activation: ir.Value) -> ir.Node:
    """A node to an activation's values (uint8), scale and zero point."""
    name = f"{activation.name}_dynamic"
    outputs = [ir.Value(name=name + end) for end in ("", "_scale", "_zero_point")]
    return ir.node("DynamicQuantizeLinear", [activation], outputs=outputs, name=name)


def _quantize_product(
    graph: ir.Graph, product: ir.Node, activation: ir.Node, weight: ir.Value
) -> None:
    """Give a node the product of integers, which it multiplies by both scales.

    So that what it computes keeps its name and type.
    """
    assert weight.const_value is not None
    values, scales = _quantized_weight(weight.const_value.numpy())
    int8 = ir.Value(name=f"{weight.name}_quantized", const_value=ir.tensor(values))
    own_scale = ir.Value(name=f"{weight.name}_scale", const_value=ir.tensor(scales))
    quantized, scale, zero_point = activation.outputs
    integers = _named("MatMulInteger", product, quantized, int8, zero_point)
    floats = _named("Cast", product, integers.outputs[0], to=ir.DataType.FLOAT)
    both = _named("Mul", product, scale, own_scale)
    graph.insert_before(product, [integers, floats, both])
    product.op_type = "Mul"
    for i, node in enumerate((floats, both)):
        product.replace_input_with(i, node.outputs[0])
    del graph.initializers[str(weight.name)]
    for value in (int8, own_scale):
        graph.register_initializer(value)


def _named(
    kind: str, product: ir.Node, *inputs: ir.Value | None, **attributes: ir.DataType | int
) -> ir.Node:
    name = f"{product.name}_{kind}"
    return ir.node(kind, inputs, attributes, outputs=[ir.Value(name=name)], name=name)


def _quantized_weight(
    weight: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(in, out) as int8, and a scale for each column."""
    scales = np.abs(weight).max(axis=0) / np.float32(_LARGEST)
    scales[scales == 0] = 1
    return np.rint(weight / scales).astype(np.int8), scales
