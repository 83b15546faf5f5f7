"""Names of the operators of the ONNX domain `lorair`, and what they compute.

Plain Python, importable everywhere. Each operator exists as an ONNX function body
(`onnx_functions.py`) and as a PyTorch expression (`torch_ops.py`); the two mean the same.

`LoRAMoEConv(X, weight, lora_A, lora_B, gates, bias?) -> Y`
    A convolution whose kernel is merged from low-rank experts as it runs:
    `W = weight + scale * sum_e gates[e] * (lora_B[e] @ lora_A[e]).view(weight.shape)`,
    `Y = conv(X, W, bias)`. The merge is done in float32, the convolution in X's type.

    X (N, in, H, W); weight (out, in/group, k, k); lora_A (E, r*k, in*k);
    lora_B (E, out/group*k, r*k); gates (E) float32; bias (out).
    Attributes: strides, pads (ONNX order), group, scale (alpha / rank).

`LayerNorm2d(X, weight, bias) -> Y`
    Normalises each pixel over its channels with the biased variance and
    `LAYER_NORM_EPSILON` inside the root, then applies weight (C) and bias (C).
    Statistics in float32, whatever X's type: squared deviations overflow fp16.
"""

from typing import Final

DOMAIN: Final = "lorair"
DOMAIN_VERSION: Final = 1
ONNX_OPSET: Final = 20
"""The standard operator set that bodies and graphs use; 20 brings the exact Gelu."""

LORA_MOE_CONV: Final = "LoRAMoEConv"
LAYER_NORM_2D: Final = "LayerNorm2d"

LAYER_NORM_EPSILON: Final = 1e-6
