"""The operators' second home: PyTorch, differentiable, exported as one node each.

Formulas are in `spec.py`. Common arguments:

    x: (B, in, H, W).
    weight: (out, in/groups, k, k).
    lora_A: (E, r*k, in*k).
    lora_B: (E, out/groups*k, r*k).
    gates: float32 (E) for all pictures, or (B, E) for each its own.
    bias: (out).
    lora_bias: (E, out), added as `gates @ lora_bias`.
    scale: alpha / rank.

Results are in x's dtype.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name every PyTorch user knows)
from torch import Tensor

from lorair.kernels.spec import (
    DOMAIN,
    DOMAIN_VERSION,
    LORA_MOE_CONV,
    LORA_MOE_CONV_ADD,
    LORA_MOE_DEPTHWISE_GATE,
    NORM_EPSILON,
    NORM_LORA_MOE_CONV,
    NORM_LORA_MOE_CONV_GATE,
    NORM_SCALE_ADD,
    SCALE_LORA_MOE_CONV_ADD,
)


def merge_experts(
    weight: Tensor, lora_A: Tensor, lora_B: Tensor, gates: Tensor, scale: float
) -> Tensor:
    """The convolution kernel for given gates, in float32.

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
    """`LoRAMoEConv`: (B, in, H, W) -> (B, out, H', W'); the padding is the same on all sides."""
    if torch.compiler.is_exporting():
        return _symbolic_conv(
            x, weight, lora_A, lora_B, gates, bias, (stride, padding, groups, scale)
        )
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
    """`NormLoRAMoEConv`, or with `gate` `NormLoRAMoEConvGate`: (B, c, H, W) -> (B, out, H, W).

    With `gate` the result has out/2 channels.
    """
    if torch.compiler.is_exporting():
        name = NORM_LORA_MOE_CONV_GATE if gate else NORM_LORA_MOE_CONV
        inputs = (x, weight, lora_A, lora_B, gates, bias, lora_bias)
        channels = weight.shape[0] // 2 if gate else weight.shape[0]
        return _symbolic(name, inputs, {"scale": scale}, _with_channels(x, channels))
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
    """`LoRAMoEDepthwiseGate`: (B, 2c, H, W) -> (B, c, H, W) and its mean (B, c, 1, 1)."""
    channels = x.shape[1]
    if torch.compiler.is_exporting():
        half = channels // 2
        shapes = (_with_channels(x, half), (x.shape[0], half, 1, 1))
        y, mean = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{LORA_MOE_DEPTHWISE_GATE}",
            (x, weight, lora_A, lora_B, gates, bias),
            {"group": channels, "scale": scale},
            dtypes=(x.dtype, x.dtype),
            shapes=shapes,
            version=DOMAIN_VERSION,
        )
        return y, mean
    merged = merge_experts(weight, lora_A, lora_B, gates, scale)
    out = simple_gate(_conv(x, merged, bias, padding=1, groups=channels))
    return out, global_mean(out)


def lora_moe_conv_add(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    residual: Tensor,
    *,
    scale: float,
    channel_scale: Tensor | None = None,
) -> Tensor:
    """`LoRAMoEConvAdd`, or with channel_scale (B, c, 1, 1) `ScaleLoRAMoEConvAdd`.

    (B, c, H, W) and residual (B, out, H, W) -> (B, out, H, W).
    """
    if torch.compiler.is_exporting():
        rest = (weight, lora_A, lora_B, gates, bias, residual)
        if channel_scale is None:
            return _symbolic(LORA_MOE_CONV_ADD, (x, *rest), {"scale": scale}, residual.shape)
        inputs = (x, channel_scale, *rest)
        return _symbolic(SCALE_LORA_MOE_CONV_ADD, inputs, {"scale": scale}, residual.shape)
    merged = merge_experts(weight, lora_A, lora_B, gates, scale)
    return residual + _conv(x if channel_scale is None else x * channel_scale, merged, bias)


def norm_scale_add(x: Tensor, channel_scale: Tensor, channel_shift: Tensor) -> Tensor:
    """`NormScaleAdd`: (B, c, H, W) with scale and shift (B, c, 1, 1) -> (B, c, H, W)."""
    if torch.compiler.is_exporting():
        return _symbolic(NORM_SCALE_ADD, (x, channel_scale, channel_shift), {}, x.shape)
    return x + (channel_norm(x) * channel_scale + channel_shift)


def channel_norm(x: Tensor) -> Tensor:
    """Each pixel's channels to mean 0 and variance 1; statistics in float32, x's dtype out."""
    values = x.float()
    centred = values - values.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return (centred / (variance + NORM_EPSILON).sqrt()).to(x.dtype)


def simple_gate(x: Tensor) -> Tensor:
    """(B, 2c, H, W) -> (B, c, H, W): the first half of the channels times the second."""
    first, second = x.chunk(2, dim=1)
    return first * second


def global_mean(x: Tensor) -> Tensor:
    """(B, c, H, W) -> (B, c, 1, 1), summed in float32: fp16 would overflow."""
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


def _symbolic_conv(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor | None,
    geometry: tuple[int, int, int, float],
) -> Tensor:
    stride, padding, groups, scale = geometry
    kernel = weight.shape[-1]
    # All uses keep the size or divide it exactly, so no floor has to be traced.
    height, width = (x.shape[2], x.shape[3]) if stride == 1 else (x.shape[2] // 2, x.shape[3] // 2)
    if (stride, padding) not in {(1, kernel // 2), (2, 0)}:
        raise NotImplementedError(f"no shape rule for stride {stride} with padding {padding}")
    inputs = (x, weight, lora_A, lora_B, gates) + (() if bias is None else (bias,))
    attributes: dict[str, Any] = {
        "strides": [stride, stride],
        "pads": [padding] * 4,
        "group": groups,
        "scale": float(scale),
    }
    shape = (x.shape[0], weight.shape[0], height, width)
    return _symbolic(LORA_MOE_CONV, inputs, attributes, shape)


def _with_channels(x: Tensor, channels: int) -> tuple[int, int, int, int]:
    return x.shape[0], channels, x.shape[2], x.shape[3]


def _symbolic(
    name: str,
    inputs: tuple[Tensor, ...],
    attributes: dict[str, Any],
    shape: Sequence[int],
) -> Tensor:
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{name}",
        inputs,
        attributes,
        dtype=inputs[0].dtype,
        shape=tuple(shape),
        version=DOMAIN_VERSION,
    )
