"""The operators' second home: PyTorch, differentiable, exported as one node each."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name every PyTorch user knows)
from torch import Tensor

from lorair.kernels.spec import (
    DOMAIN,
    DOMAIN_VERSION,
    LAYER_NORM_2D,
    LAYER_NORM_EPSILON,
    LORA_MOE_CONV,
)


def merge_experts(
    weight: Tensor, lora_A: Tensor, lora_B: Tensor, gates: Tensor, scale: float
) -> Tensor:
    """The convolution kernel for given gates, in float32.

    `W = weight + scale * sum_e gates[e] * (lora_B[e] @ lora_A[e]).view(weight.shape)`.
    All experts at once: concatenated along the rank they are one matrix product.

    Args:
        weight: (out, in/group, k, k).
        lora_A: (E, r*k, in*k).
        lora_B: (E, out/group*k, r*k).
        gates: (E), or (B, E) for one set a picture.
        scale: alpha / rank.

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
    """Convolution with a mixture of low-rank experts: `spec.LORA_MOE_CONV`.

    Args:
        x: (B, in, H, W).
        weight: (out, in/groups, k, k).
        lora_A: (E, r*k, in*k).
        lora_B: (E, out/groups*k, r*k).
        gates: float32 (E) for all pictures, or (B, E) for each its own.
        bias: (out) or None.
        stride: the same in both directions.
        padding: the same on all four sides.
        groups: of the convolution.
        scale: alpha / rank.

    Returns:
        (B, out, H', W') in x's dtype.
    """
    if torch.compiler.is_exporting():
        return _symbolic_conv(
            x, weight, lora_A, lora_B, gates, bias, (stride, padding, groups, scale)
        )
    merged = merge_experts(weight, lora_A, lora_B, gates, scale).to(x.dtype)
    if gates.dim() == 1:
        return F.conv2d(x, merged, bias, stride, padding, groups=groups)
    # One kernel a picture: the batch becomes groups of a single convolution.
    batch, channels, height, width = x.shape
    out = F.conv2d(
        x.reshape(1, batch * channels, height, width),
        merged.flatten(0, 1),
        None if bias is None else bias.repeat(batch),
        stride,
        padding,
        groups=batch * groups,
    )
    return out.reshape(batch, weight.shape[0], *out.shape[2:])


def layer_norm_2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise (B, C, H, W) over C at each pixel: `spec.LAYER_NORM_2D`. Same dtype out."""
    if torch.compiler.is_exporting():
        return _symbolic(LAYER_NORM_2D, (x, weight, bias), {}, x.shape)
    values = x.float()
    centred = values - values.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    normed = centred / (variance + LAYER_NORM_EPSILON).sqrt()
    return (normed * weight.float()[:, None, None] + bias.float()[:, None, None]).to(x.dtype)


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


def _symbolic(
    name: str,
    inputs: tuple[Tensor, ...],
    attributes: dict[str, Any],
    shape: Sequence[int],
) -> Tensor:
    x = inputs[0]
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{name}",
        inputs,
        attributes,
        dtype=x.dtype,
        shape=tuple(shape),
        version=DOMAIN_VERSION,
    )
