"""`config.pbtxt`: what Triton is told of each model, in protobuf's text format.

The message is `inference.ModelConfig` of Triton's model_config.proto. `max_batch_size` is 0
everywhere: pictures have sizes of their own, so shapes are written in full.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

ANY: Final = -1
"""A side of any length."""

Message = dict[str, Any]
"""A message by its fields: a list is a repeated field, a tuple one of numbers."""


class Constant(str):
    """A value of an enumeration, which is written without quotes."""


def render(message: Message) -> str:
    """Return a message in protobuf's text format."""
    return "\n".join(_lines(message)) + "\n"


def tensor(
    name: str, kind: str, shape: tuple[int, ...], inner: tuple[int, ...] | None = None
) -> Message:
    """Return an input or output, by its name in the graph and Triton's name of its type.

    `shape` is as requests have it, `inner` as the graph has it, if that differs.
    """
    found = {"name": name, "data_type": Constant(f"TYPE_{kind}"), "dims": shape}
    return found if inner is None else {**found, "reshape": {"shape": inner}}


def model(name: str, inputs: Sequence[Message], outputs: Sequence[Message], **more: Any) -> Message:
    """Return a model's configuration from its tensors and the fields that not all models have."""
    return {
        "name": name,
        "max_batch_size": 0,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": list(inputs),
        "output": list(outputs),
        **more,
    }


def step(name: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Message:
    """Return a step of an ensemble; the maps go from the model's tensors to the ensemble's."""
    return {
        "model_name": name,
        "model_version": -1,
        "input_map": [{"key": own, "value": shared} for own, shared in inputs.items()],
        "output_map": [{"key": own, "value": shared} for own, shared in outputs.items()],
    }


def _lines(message: Message, indent: str = "") -> Iterator[str]:
    for name, value in message.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield f"{indent}{name} {{"
                yield from _lines(one, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_text(one)}"


def _text(value: Any) -> str:
    if isinstance(value, Constant):
        return value
    return json.dumps(value)  # its escapes are protobuf's too
