"""Names of the operators of the ONNX domain `lorair`, and what they compute.

Plain Python, importable everywhere. Each operator has five homes of one meaning: an ONNX
function body (`onnx_functions.py`), a PyTorch operator (`torch_ops.py`), a Triton kernel
(`triton_conv.py`, `triton_depthwise.py`), that kernel compiled (`aot.py`) and a TensorRT
plugin that launches it (`trt_plugin.py`). LoRAMoEConv is a kernel where it is 1x1; elsewhere
it is merged and left to a standard convolution. A block of the network is six operators.

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

from typing import Final

DOMAIN: Final = "lorair"
DOMAIN_VERSION: Final = 1
ONNX_OPSET: Final = 20
"""The standard operator set that bodies and graphs use; 20 brings the exact Gelu."""

LORA_MOE_CONV: Final = "LoRAMoEConv"
NORM_LORA_MOE_CONV: Final = "NormLoRAMoEConv"
NORM_LORA_MOE_CONV_GATE: Final = "NormLoRAMoEConvGate"
LORA_MOE_DEPTHWISE_GATE: Final = "LoRAMoEDepthwiseGate"
LORA_MOE_CONV_ADD: Final = "LoRAMoEConvAdd"
SCALE_LORA_MOE_CONV_ADD: Final = "ScaleLoRAMoEConvAdd"
NORM_SCALE_ADD: Final = "NormScaleAdd"

OPERATORS: Final = (
    LORA_MOE_CONV,
    NORM_LORA_MOE_CONV,
    NORM_LORA_MOE_CONV_GATE,
    LORA_MOE_DEPTHWISE_GATE,
    LORA_MOE_CONV_ADD,
    SCALE_LORA_MOE_CONV_ADD,
    NORM_SCALE_ADD,
)

NORM_EPSILON: Final = 1e-6
