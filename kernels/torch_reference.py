"""The operators' reference: plain PyTorch expressions, differentiable, on any device.

Formulas are in `spec.py`; common arguments are explained in `torch_ops.py`.
"""

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Final

import torch.nn.functional as F
from torch import Tensor

from lorair.kernels import spec
from lorair.kernels.spec import NORM_EPSILON


def merge_experts(
    weight: Tensor, lora_A: Tensor, lora_B: Tensor, gates: Tensor, scale: float
) -> Tensor:
    """Return the convolution kernel for given gates, in float32.

    `W = weight + scale * sum_e gates[e] * (lora_B[e] @ lora_A[e]).view(weight.shape)`.
    All experts at once: concatenated along the rank they are one matrix product.

    Returns:
        weight's shape for gates (E); (B, *weight.shape) for gates (B, E).
    """
    experts, inner, columns = lora_A.shape
    rows = lora_B.shape[1]
    A = lora_A.float().reshape(experts * inner, columns)
    B = lora_B.float().transpose(0, 1) * (gates.float() * scale)[..., None, :, None]
    product = B.reshape(*gates.shape[:-1], rows, experts * inner) @ A
    return weight.float() + product.view(*gates.shape[:-1], *weight.shape)


def lora_moe_conv(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor | None,
    *,
    stride: int,
    padding: int,
    groups: int,
    scale: float,
) -> Tensor:
    """Compute `LoRAMoEConv`: (B, in, H, W) -> (B, out, H', W')."""
    merged = merge_experts(weight, lora_A, lora_B, gates, scale)
    return _conv(x, merged, bias, stride=stride, padding=padding, groups=groups)


def norm_lora_moe_conv(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    lora_bias: Tensor,
    *,
    scale: float,
    gate: bool = False,
) -> Tensor:
    """Compute `NormLoRAMoEConv`, or with `gate` `NormLoRAMoEConvGate`.

    (B, c, H, W) -> (B, out, H, W), with `gate` (B, out/2, H, W).
    """
    merged = merge_experts(weight, lora_A, lora_B, gates, scale)
    shift = bias.float() + gates.float() @ lora_bias.float()
    out = _conv(channel_norm(x), merged, shift)
    return simple_gate(out) if gate else out


def lora_moe_depthwise_gate(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    *,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Compute `LoRAMoEDepthwiseGate`: (B, 2c, H, W) -> (B, c, H, W) and its mean (B, c, 1, 1)."""
    merged = merge_experts(weight, lora_A, lora_B, gates, scale)
    out = simple_gate(_conv(x, merged, bias, padding=1, groups=x.shape[1]))
    return out, global_mean(out)


def lora_moe_conv_add(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    residual: Tensor,
    channel_scale: Tensor | None = None,
    *,
    scale: float,
) -> Tensor:
    """Compute `LoRAMoEConvAdd`, or with channel_scale (B, c, 1, 1) `ScaleLoRAMoEConvAdd`.

    (B, c, H, W) and residual (B, out, H, W) -> (B, out, H, W).
    """
    merged = merge_experts(weight, lora_A, lora_B, gates, scale)
    return residual + _conv(x if channel_scale is None else x * channel_scale, merged, bias)


def norm_scale_add(x: Tensor, channel_scale: Tensor, channel_shift: Tensor) -> Tensor:
    """Compute `NormScaleAdd`: (B, c, H, W), scale and shift (B, c, 1, 1) -> (B, c, H, W)."""
    return x + (channel_norm(x) * channel_scale + channel_shift)


def channel_norm(x: Tensor) -> Tensor:
    """Bring each pixel's channels to mean 0 and variance 1, in x's dtype from float32."""
    values = x.float()
    centred = values - values.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return (centred / (variance + NORM_EPSILON).sqrt()).to(x.dtype)


def simple_gate(x: Tensor) -> Tensor:
    """Multiply the channels' halves: (B, 2c, H, W) -> (B, c, H, W)."""
    first, second = x.chunk(2, dim=1)
    return first * second


def global_mean(x: Tensor) -> Tensor:
    """Average (B, c, H, W) to (B, c, 1, 1), summed in float32: fp16 would overflow."""
    return x.float().mean((2, 3), keepdim=True).to(x.dtype)


def _conv(
    x: Tensor,
    merged: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Tensor:
    """Convolve with one kernel (out, in/groups, k, k), or with one a picture (B, out, ...)."""
    kernel = merged.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if kernel.dim() == 4:
        return F.conv2d(x, kernel, bias, stride, padding, groups=groups)
    # One kernel a picture: the batch becomes groups of a single convolution.
    batch, channels, height, width = x.shape
    if bias is not None:
        bias = bias.expand(batch, kernel.shape[1]).reshape(-1)
    out = F.conv2d(
        x.reshape(1, batch * channels, height, width),
        kernel.flatten(0, 1),
        bias,
        stride,
        padding,
        groups=batch * groups,
    )
    return out.reshape(batch, kernel.shape[1], *out.shape[2:])


_FUNCTIONS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    spec.LORA_MOE_CONV: ("lora_moe_conv", {"bias": None, "stride": 1, "padding": 0, "groups": 1}),
    spec.NORM_LORA_MOE_CONV: ("norm_lora_moe_conv", {}),
    spec.NORM_LORA_MOE_CONV_GATE: ("norm_lora_moe_conv", {"gate": True}),
    spec.LORA_MOE_DEPTHWISE_GATE: ("lora_moe_depthwise_gate", {}),
    spec.LORA_MOE_CONV_ADD: ("lora_moe_conv_add", {}),
    spec.SCALE_LORA_MOE_CONV_ADD: ("lora_moe_conv_add", {}),
    spec.NORM_SCALE_ADD: ("norm_scale_add", {}),
}


def function_of(operator: str, scale: float, home: ModuleType | None = None) -> Callable[..., Any]:
    """Return what computes an operator's kernel, given its form's inputs by name.

    scale: alpha / rank; NormScaleAdd has none. home: `torch_ops`; None for this module.
    """
    name, rest = _FUNCTIONS[operator]
    scaled = {} if operator == spec.NORM_SCALE_ADD else {"scale": scale}
    return partial(getattr(home or sys.modules[__name__], name), **rest, **scaled)
