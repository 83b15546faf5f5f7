"""Graphs with the operators' bodies written out, for libraries that know standard ONNX only.

TensorRT's parser mishandles attributes that a body takes by reference, so it never gets to
see a function. PyTorch is not needed here.
"""

from pathlib import Path

import onnx
from onnx import inliner

from lorair.kernels.onnx_functions import Target, bodies


def inlined(graph: Path, target: Target) -> onnx.ModelProto:
    """A graph with each operator's body for one target in its place; weights stay outside.

    Args:
        graph: of the exporter, its functions for whatever target.
        target: of the bodies.
    """
    model = onnx.load(graph, load_external_data=False)
    if model.functions:
        is_float32 = model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT
        del model.functions[:]
        model.functions.extend(bodies(target, float32=is_float32))
        model = inliner.inline_local_functions(model)
    _drop_absent_inputs(model)
    return model


def _drop_absent_inputs(model: onnx.ModelProto) -> None:
    """An optional input that is absent at the end of a list is dropped instead of named "".

    Both are ONNX; TensorRT's parser takes only the first for a convolution's bias.
    """
    for node in model.graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()
