"""Names of the operators of the ONNX domain `lorair`, and what they compute.

Plain Python, importable everywhere. Each operator has five implementations: an ONNX function
body (`onnx_functions.py`), a PyTorch operator (`torch_ops.py`), a Triton kernel (`triton/`),
that kernel compiled (`aot.py`) and a TensorRT plugin that holds it (`tensorrt/`).
LoRAMoEConv is a kernel where it is 1x1; elsewhere the experts are merged and a standard
convolution follows. A block of the network is six operators.

Every convolution carries low-rank experts. Its kernel is merged as it runs, in float32:
`W(gates) = weight + scale * sum_e gates[e] * (lora_B[e] @ lora_A[e]).view(weight.shape)`
with weight (out, in/group, k, k), lora_A (E, r*k, in*k), lora_B (E, out/group*k, r*k),
gates (E) float32, bias (out), and the attribute `scale` (alpha / rank). The convolution
itself runs in X's type. Below, X is (N, C, H, W), `norm` is

`norm(X) = (X - mean) / sqrt(variance + NORM_EPSILON)`

over the channels of each pixel (biased variance, in float32 whatever X's type: squared
deviations overflow fp16), and `gate(a || b) = a * b`, the channels' halves multiplied.

`LoRAMoEConv(X, weight, lora_A, lora_B, gates, bias?) -> Y`
    Any convolution: `Y = conv(X, W(gates), bias)`.
    Attributes: strides, pads (ONNX order), group, scale.

`NormLoRAMoEConv(X, weight, lora_A, lora_B, gates, bias, lora_bias) -> Y`
    1x1: `Y = conv(norm(X), W(gates), bias + gates @ lora_bias)`; lora_bias (E, out) is
    what a folded affine part leaves behind. Attribute: scale.

`NormLoRAMoEConvGate(X, weight, lora_A, lora_B, gates, bias, lora_bias) -> Y`
    `Y = gate(NormLoRAMoEConv(...))`, (N, out/2, H, W).

`LoRAMoEDepthwiseGate(X, weight, lora_A, lora_B, gates, bias) -> Y, mean`
    Depthwise 3x3, padded by 1: `Y = gate(conv(X, W(gates), bias))`, (N, C/2, H, W), and
    its mean over the pixels, (N, C/2, 1, 1), summed in float32. Attributes: group (C), scale.

`LoRAMoEConvAdd(X, weight, lora_A, lora_B, gates, bias, residual) -> Y`
    1x1: `Y = residual + conv(X, W(gates), bias)`.

`ScaleLoRAMoEConvAdd(X, channel_scale, weight, lora_A, lora_B, gates, bias, residual) -> Y`
    1x1: `Y = residual + conv(X * channel_scale, W(gates), bias)`; channel_scale (N, C, 1, 1).

`NormScaleAdd(X, channel_scale, channel_shift) -> Y`
    `Y = X + norm(X) * channel_scale + channel_shift`; both (N, C, 1, 1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

DOMAIN: Final = "lorair"
DOMAIN_VERSION: Final = 1
ONNX_OPSET: Final = 20
"""The standard operator set that bodies and graphs use; 20 brings the exact Gelu."""
ONNX_IR_VERSION: Final = 9
"""Of the file format: the oldest that knows this operator set, for the oldest readers."""

LORA_MOE_CONV: Final = "LoRAMoEConv"
NORM_LORA_MOE_CONV: Final = "NormLoRAMoEConv"
NORM_LORA_MOE_CONV_GATE: Final = "NormLoRAMoEConvGate"
LORA_MOE_DEPTHWISE_GATE: Final = "LoRAMoEDepthwiseGate"
LORA_MOE_CONV_ADD: Final = "LoRAMoEConvAdd"
SCALE_LORA_MOE_CONV_ADD: Final = "ScaleLoRAMoEConvAdd"
NORM_SCALE_ADD: Final = "NormScaleAdd"

NORM_EPSILON: Final = 1e-6


@dataclass(frozen=True)
class Form:
    """The inputs and outputs of an operator's kernel, and what is fused with it.

    inputs, outputs: in the operator's order, named as the kernel's arguments.
    norm: LayerNorm in front. gate: SimpleGate behind.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("y",)
    norm: bool = False
    gate: bool = False

    @property
    def parts(self) -> dict[str, bool]:
        """The parts that decide which tilings suit the kernel; see `tiles.conv_tiles`."""
        scaled = "channel_scale" in self.inputs
        return {"norm": self.norm, "gate": self.gate, "scaled": scaled}


GATES: Final = "gates"
"""The one input that is always float32; all others have the type of x."""

_EXPERTS = ("weight", "lora_A", "lora_B", GATES)
_SHIFTED = ("x", *_EXPERTS, "bias", "lora_bias")

CONVOLUTIONS: Final = {
    # The 1x1 without bias before a pixel shuffle; all others are standard convolutions.
    LORA_MOE_CONV: Form(("x", *_EXPERTS)),
    NORM_LORA_MOE_CONV: Form(_SHIFTED, norm=True),
    NORM_LORA_MOE_CONV_GATE: Form(_SHIFTED, norm=True, gate=True),
    LORA_MOE_CONV_ADD: Form(("x", *_EXPERTS, "bias", "residual")),
    SCALE_LORA_MOE_CONV_ADD: Form(("x", "channel_scale", *_EXPERTS, "bias", "residual")),
}
"""The operators that the 1x1 kernel computes."""

FORMS: Final = CONVOLUTIONS | {
    LORA_MOE_DEPTHWISE_GATE: Form(("x", *_EXPERTS, "bias"), ("y", "mean"), gate=True),
    NORM_SCALE_ADD: Form(("x", "channel_scale", "channel_shift")),
}

OPERATORS: Final = tuple(FORMS)

Dim = TypeVar("Dim")


def output_shapes(
    operator: str, inputs: Sequence[Sequence[Dim]], halve: Callable[[Dim], Dim], one: Dim
) -> list[tuple[Dim, ...]]:
    """Return the shapes of an operator's results, for any kind of dimension.

    inputs: their shapes. halve: divides an even dimension by two. one: the dimension 1.
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
