"""A bundle's portable graphs in float32 arithmetic: what its other forms are compared with.

The weights keep the values that they have in the bundle: an fp16 bundle's are rounded.
PyTorch is not needed here.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lorair.kernels.onnx_functions import bodies
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import RESTORER, ROUTER, Bundle


def float32_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Return a bundle of the two portable graphs alone, in float32.

    Args:
        bundle: of any precision; a float32 one's files are used where they are.
        folder: empty; takes the converted graphs.
    """
    manifest = bundle.manifest
    if manifest.precision == "fp32":
        names = [name for graph in (ROUTER, RESTORER) for name in (graph, f"{graph}.data")]
        files = {name: manifest.files[name] for name in names}
        return Bundle(bundle.path, manifest.model_copy(update={"files": files}))
    for graph in (bundle.router, bundle.restorer):
        write_float32(graph, folder)
    changes = {"precision": "fp32", "files": list_files(folder)}
    return Bundle(folder, manifest.model_copy(update=changes))


def write_float32(graph: Path, folder: Path) -> None:
    """Write a graph and its weights with every float16 turned into float32.

    Args:
        graph: of the exporter; its weights lie beside it.
        folder: takes both under the same names.
    """
    model = onnx.load(graph, load_external_data=False)
    with (folder / f"{graph.name}.data").open("wb") as data:
        for tensor in model.graph.initializer:
            _convert(tensor, graph.parent, data)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    if model.functions:
        del model.functions[:]
        model.functions.extend(bodies("cpu", float32=True))
    onnx.save(model, folder / graph.name)


def _convert(tensor: Any, source: Path, data: BinaryIO) -> None:
    """One initializer at a time, so that a gigabyte of weights is never in memory at once."""
    array = numpy_helper.to_array(tensor, base_dir=str(source))
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    converted = numpy_helper.from_array(array, tensor.name)
    if tensor.data_location == TensorProto.EXTERNAL:
        _move(converted, data)
    tensor.CopyFrom(converted)


def _move(tensor: Any, data: BinaryIO) -> None:
    """A tensor's content to the end of a file beside the graph."""
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = {"location": Path(data.name).name, "offset": data.tell(), "length": len(content)}
    for key, value in places.items():
        tensor.external_data.add(key=key, value=str(value))
    data.write(content)
