"""Copies of a bundle with a known mistake in them."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import RESTORER, Bundle, Manifest, write_manifest


def wrong_weight(bundle: Path, copy: Path, graph: str, tensor: str) -> Path:
    """A copy in which one value of a tensor is off by 1, in one graph only."""
    manifest = _copy(bundle, copy)
    model = onnx.load(copy / graph, load_external_data=False)
    weight = next(t for t in model.graph.initializer if t.name == tensor)
    array = numpy_helper.to_array(weight, base_dir=str(copy)).copy()
    array.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(array, tensor))
    onnx.save(model, copy / graph)
    write_manifest(copy, manifest.model_copy(update={"files": list_files(copy)}))
    return copy


def huge_weight(bundle: Path, copy: Path, tensor: str, value: float) -> Path:
    """A copy in which every value of a restorer's tensor is `value`, in all its graphs."""
    manifest = _copy(bundle, copy)
    model = onnx.load(copy / RESTORER, load_external_data=False)
    weight = next(t for t in model.graph.initializer if t.name == tensor)
    places = {entry.key: entry.value for entry in weight.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
    with (copy / places["location"]).open("r+b") as data:
        data.seek(int(places["offset"]))
        data.write(np.full(tuple(weight.dims), value, dtype).tobytes())
    write_manifest(copy, manifest.model_copy(update={"files": list_files(copy)}))
    return copy


def _copy(bundle: Path, copy: Path) -> Manifest:
    shutil.copytree(bundle, copy)
    return Bundle.open(copy).manifest
