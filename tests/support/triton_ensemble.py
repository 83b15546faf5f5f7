"""Triton's part in a model repository: reads the configurations, runs an ensemble's steps.

Knows nothing of lorair: names, types and shapes are taken from the config.pbtxt files, which
are parsed with Triton's own message, and checked against the graphs and at every step.
"""

import importlib.util
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_NUMPY = {"UINT8": np.uint8, "BOOL": np.bool_, "FP32": np.float32, "INT64": np.int64}
_GRAPH = {"UINT8": "uint8", "BOOL": "bool", "FP32": "float", "INT64": "int64"}


@cache
def messages() -> Any:
    """Tritonclient's model_config_pb2; without the package around it, which wants gRPC."""
    try:
        path = distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
    except PackageNotFoundError:
        pytest.skip("tritonclient is not installed")
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_config(folder: Path) -> Any:
    """An inference.ModelConfig; protobuf refuses fields and values that it does not know."""
    from google.protobuf import text_format

    config = text_format.Parse((folder / "config.pbtxt").read_text(), messages().ModelConfig())
    assert config.name == folder.name, "Triton wants the folder's name"
    assert any(child.name.isdigit() for child in folder.iterdir()), "and a version"
    return config


def type_of(tensor: Any) -> str:
    name: str = messages().DataType.Name(tensor.data_type)
    return name.removeprefix("TYPE_")


def inner_shape(tensor: Any) -> list[int]:
    """What the backend gets."""
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def agree(one: list[int], other: list[int]) -> bool:
    """As Triton compares shapes: -1 is any."""
    return len(one) == len(other) and all(-1 in (a, b) or a == b for a, b in zip(one, other))  # noqa: B905


class OnnxModel:
    """A model of the onnxruntime backend."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        self.config = read_config(folder)
        assert self.config.backend == "onnxruntime"
        assert self.config.max_batch_size == 0
        file = self.config.default_model_filename or "model.onnx"
        self.session = onnxruntime.InferenceSession(folder / "1" / file)
        self._check(self.config.input, self.session.get_inputs())
        self._check(self.config.output, self.session.get_outputs())

    def _check(self, tensors: Any, nodes: Any) -> None:
        by_name = {node.name: node for node in nodes}
        assert {tensor.name for tensor in tensors} == by_name.keys()
        for tensor in tensors:
            node = by_name[tensor.name]
            assert node.type == f"tensor({_GRAPH[type_of(tensor)]})"
            shape = [side if isinstance(side, int) else -1 for side in node.shape]
            assert agree(inner_shape(tensor), shape), (tensor.name, shape)

    def run(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        feed = {}
        for tensor in self.config.input:
            check(given[tensor.name], tensor)
            feed[tensor.name] = given[tensor.name].reshape(inner_shape(tensor)) \
                if tensor.HasField("reshape") else given[tensor.name]  # fmt: skip
        outputs = self.session.run(None, feed)
        found = dict(zip([node.name for node in self.session.get_outputs()], outputs, strict=True))
        for tensor in self.config.output:
            check(found[tensor.name], tensor)
        return found


def check(value: np.ndarray, tensor: Any) -> None:
    assert value.dtype == _NUMPY[type_of(tensor)], tensor.name
    assert agree(list(value.shape), list(tensor.dims)), (tensor.name, value.shape)


class EnsembleModel:
    """An ensemble whose models run on ONNX Runtime."""

    def __init__(self, repository: Path, name: str) -> None:
        self.config = read_config(repository / name)
        assert self.config.platform == "ensemble"
        assert self.config.max_batch_size == 0
        self.steps = self.config.ensemble_scheduling.step
        self.models = {s.model_name: OnnxModel(repository / s.model_name) for s in self.steps}
        self._check_shared()

    def _check_shared(self) -> None:
        """A tensor has one type and shape wherever it is mapped, before any reshape."""
        seen = {t.name: t for t in (*self.config.input, *self.config.output)}
        for step in self.steps:
            config = self.models[step.model_name].config
            for tensors, mapped in (
                (config.input, step.input_map),
                (config.output, step.output_map),
            ):
                names = {tensor.name: tensor for tensor in tensors}
                assert mapped.keys() <= names.keys()
                assert tensors is config.output or mapped.keys() == names.keys()
                for own, shared in mapped.items():
                    other = seen.setdefault(shared, names[own])
                    assert other.data_type == names[own].data_type
                    assert agree(list(other.dims), list(names[own].dims))

    def run(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Each step as soon as its inputs are there, whatever order they are written in."""
        assert given.keys() == {tensor.name for tensor in self.config.input}
        for tensor in self.config.input:
            check(given[tensor.name], tensor)
        values, waiting = dict(given), list(self.steps)
        while waiting:
            step = next(s for s in waiting if set(s.input_map.values()) <= values.keys())
            waiting.remove(step)
            own = {name: values[shared] for name, shared in step.input_map.items()}
            found = self.models[step.model_name].run(own)
            values |= {shared: found[name] for name, shared in step.output_map.items()}
        for tensor in self.config.output:
            check(values[tensor.name], tensor)
        return {tensor.name: values[tensor.name] for tensor in self.config.output}
