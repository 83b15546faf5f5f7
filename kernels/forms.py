"""Which inputs and outputs each operator's kernel has, and the shapes of its results.

Plain Python, importable everywhere: the compiled forms (`variants.py`), the launches
(`launches.py`) and the TensorRT plugin (`trt_plugin.py`) follow from this one table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from lorair.kernels import spec


@dataclass(frozen=True)
class Form:
    """An operator as its kernel has it.

    inputs, outputs: in the operator's order, named as the kernel's arguments.
    norm: LayerNorm in front. gate: SimpleGate behind.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("y",)
    norm: bool = False
    gate: bool = False

    @property
    def parts(self) -> dict[str, bool]:
        """What `tiles` chooses by."""
        scaled = "channel_scale" in self.inputs
        return {"norm": self.norm, "gate": self.gate, "scaled": scaled}


GATES: Final = "gates"
"""The one input that is float32 whatever the type of x, which all others have."""

_EXPERTS = ("weight", "lora_A", "lora_B", GATES)
_SHIFTED = ("x", *_EXPERTS, "bias", "lora_bias")

CONVOLUTIONS: Final = {
    # 1x1 without bias, as before a pixel shuffle; all others are standard convolutions.
    spec.LORA_MOE_CONV: Form(("x", *_EXPERTS)),
    spec.NORM_LORA_MOE_CONV: Form(_SHIFTED, norm=True),
    spec.NORM_LORA_MOE_CONV_GATE: Form(_SHIFTED, norm=True, gate=True),
    spec.LORA_MOE_CONV_ADD: Form(("x", *_EXPERTS, "bias", "residual")),
    spec.SCALE_LORA_MOE_CONV_ADD: Form(("x", "channel_scale", *_EXPERTS, "bias", "residual")),
}
"""The operators that the 1x1 kernel serves."""

FORMS: Final = CONVOLUTIONS | {
    spec.LORA_MOE_DEPTHWISE_GATE: Form(("x", *_EXPERTS, "bias"), ("y", "mean"), gate=True),
    spec.NORM_SCALE_ADD: Form(("x", "channel_scale", "channel_shift")),
}
"""All of `spec.OPERATORS`."""

Dim = TypeVar("Dim")


def output_shapes(
    operator: str, inputs: Sequence[Sequence[Dim]], halve: Callable[[Dim], Dim], one: Dim
) -> list[tuple[Dim, ...]]:
    """The shapes of an operator's results, for any kind of dimension.

    Args:
        operator: of `FORMS`.
        inputs: the shape of each of its inputs.
        halve: divides an even dimension by two.
        one: the dimension 1.
    """
    form = FORMS[operator]
    shapes = dict(zip(form.inputs, inputs, strict=True))
    batch, channels, height, width = shapes["x"]
    made = shapes["weight"][0] if "weight" in shapes else channels
    made = halve(made) if form.gate else made
    results: list[tuple[Dim, ...]] = [(batch, made, height, width)]
    if "mean" in form.outputs:
        results.append((batch, made, one, one))
    return results
