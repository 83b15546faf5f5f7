"""`config.pbtxt`: what Triton is told of each model, in protobuf's text format.

The message is `inference.ModelConfig` of Triton's model_config.proto. `max_batch_size` is 0
everywhere: pictures have sizes of their own, so shapes are written in full.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU"]

ANY: Final = -1
"""A side of any length."""


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    type: Triton's name for it, without `TYPE_`. shape: as requests have it. inner: as the
    graph has it, if that differs.
    """

    name: str
    type: Literal["BOOL", "UINT8", "INT64", "FP32"]
    shape: tuple[int, ...]
    inner: tuple[int, ...] | None = None

    def render(self, field_name: str) -> str:
        """One field of a ModelConfig."""
        inner = f" reshape {{ shape: {list(self.inner)} }}" if self.inner is not None else ""
        return (
            f"{field_name} {{ name: {_text(self.name)} data_type: TYPE_{self.type} "
            f"dims: {list(self.shape)}{inner} }}"
        )


@dataclass(frozen=True)
class Model:
    """A model that a backend runs.

    backend: `onnxruntime` or `tensorrt`. kind: of processor.
    """

    name: str
    backend: Literal["onnxruntime", "tensorrt"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kind: Kind

    def render(self) -> str:
        """The whole file."""
        return _lines(
            *_head(self.name, self.inputs, self.outputs),
            f"backend: {_text(self.backend)}",
            f"instance_group {{ count: 1 kind: {self.kind} }}",
        )


@dataclass(frozen=True)
class Step:
    """A model of an ensemble; the maps go from its tensors to the ensemble's."""

    model: Model
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def render(self) -> str:
        """One step of a ModelEnsembling."""
        maps = [
            f"    {kind}_map {{ key: {_text(own)} value: {_text(shared)} }}"
            for kind, pairs in (("input", self.inputs), ("output", self.outputs))
            for own, shared in pairs.items()
        ]
        head = f"    model_name: {_text(self.model.name)}\n    model_version: -1"
        return "\n".join(("  step {", head, *maps, "  }"))


@dataclass(frozen=True)
class Ensemble:
    """A model made of others. parameters: for clients to read."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)

    def render(self) -> str:
        """The whole file."""
        parameters = (
            f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"
            for key, value in self.parameters.items()
        )
        return _lines(
            *_head(self.name, self.inputs, self.outputs),
            'platform: "ensemble"',
            "ensemble_scheduling {",
            *(step.render() for step in self.steps),
            "}",
            *parameters,
        )


def _head(name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> list[str]:
    return [
        f"name: {_text(name)}",
        "max_batch_size: 0",
        "version_policy { latest { num_versions: 1 } }",
        *(tensor.render("input") for tensor in inputs),
        *(tensor.render("output") for tensor in outputs),
    ]


def _text(value: str) -> str:
    """A quoted string: JSON's escapes are protobuf's too."""
    return json.dumps(value)


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
