"""The operators' second home: PyTorch operators `torch.ops.lorair.*`, one ONNX node each.

The fused operators are custom operators, opaque to `torch.compile` and without gradients:
on the CPU they are the expressions of `torch_reference.py`, on a GPU one Triton kernel.
`lora_moe_conv` is what training runs and stays an expression, differentiable. On export
each becomes one node of the domain `lorair`.

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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from lorair.kernels import torch_reference as reference
from lorair.kernels.spec import (
    DOMAIN,
    DOMAIN_VERSION,
    LORA_MOE_CONV,
    LORA_MOE_CONV_ADD,
    LORA_MOE_DEPTHWISE_GATE,
    NORM_LORA_MOE_CONV,
    NORM_LORA_MOE_CONV_GATE,
    NORM_SCALE_ADD,
    SCALE_LORA_MOE_CONV_ADD,
)

_INTERPRETED: ContextVar[bool] = ContextVar("_INTERPRETED", default=False)


@contextmanager
def interpreted() -> Iterator[None]:
    """Run the Triton kernels on the CPU too, in Triton's interpreter: slow, for tests.

    The environment must have TRITON_INTERPRET=1 before triton is first imported.
    """
    token = _INTERPRETED.set(True)
    try:
        yield
    finally:
        _INTERPRETED.reset(token)


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
    if weight.shape[1:] == (x.shape[1], 1, 1) and _by_triton(x) and not torch.is_grad_enabled():
        from lorair.kernels.triton_conv import lora_moe_conv1x1

        return lora_moe_conv1x1(x, weight, lora_A, lora_B, gates, bias, scale=scale)
    geometry = {"stride": stride, "padding": padding, "groups": groups}
    return reference.lora_moe_conv(x, weight, lora_A, lora_B, gates, bias, **geometry, scale=scale)


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
    inputs = (x, weight, lora_A, lora_B, gates, bias, lora_bias)
    if torch.compiler.is_exporting():
        name = NORM_LORA_MOE_CONV_GATE if gate else NORM_LORA_MOE_CONV
        channels = weight.shape[0] // 2 if gate else weight.shape[0]
        return _symbolic(name, inputs, {"scale": scale}, _with_channels(x, channels))
    return _norm_lora_moe_conv(*inputs, scale, gate)


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
    inputs = (x, weight, lora_A, lora_B, gates, bias)
    if torch.compiler.is_exporting():
        half = x.shape[1] // 2
        y, mean = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{LORA_MOE_DEPTHWISE_GATE}",
            inputs,
            {"group": x.shape[1], "scale": scale},
            dtypes=(x.dtype, x.dtype),
            shapes=(_with_channels(x, half), (x.shape[0], half, 1, 1)),
            version=DOMAIN_VERSION,
        )
        return y, mean
    return _lora_moe_depthwise_gate(*inputs, scale)


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
    rest = (weight, lora_A, lora_B, gates, bias, residual)
    if torch.compiler.is_exporting():
        if channel_scale is None:
            return _symbolic(LORA_MOE_CONV_ADD, (x, *rest), {"scale": scale}, residual.shape)
        inputs = (x, channel_scale, *rest)
        return _symbolic(SCALE_LORA_MOE_CONV_ADD, inputs, {"scale": scale}, residual.shape)
    return _lora_moe_conv_add(x, *rest, channel_scale, scale)


def norm_scale_add(x: Tensor, channel_scale: Tensor, channel_shift: Tensor) -> Tensor:
    """`NormScaleAdd`: (B, c, H, W) with scale and shift (B, c, 1, 1) -> (B, c, H, W)."""
    if torch.compiler.is_exporting():
        return _symbolic(NORM_SCALE_ADD, (x, channel_scale, channel_shift), {}, x.shape)
    return _norm_scale_add(x, channel_scale, channel_shift)


@torch.library.custom_op(f"{DOMAIN}::norm_lora_moe_conv", mutates_args=())
def _norm_lora_moe_conv(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    lora_bias: Tensor,
    scale: float,
    gate: bool,
) -> Tensor:
    rest = (x, weight, lora_A, lora_B, gates, bias, lora_bias)
    if not _by_triton(x):
        return reference.norm_lora_moe_conv(*rest, scale, gate)
    from lorair.kernels.triton_conv import lora_moe_conv1x1

    return lora_moe_conv1x1(*rest, scale=scale, norm=True, gate=gate)


@_norm_lora_moe_conv.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    lora_bias: Tensor,
    scale: float,
    gate: bool,
) -> Tensor:
    channels = weight.shape[0] // 2 if gate else weight.shape[0]
    return x.new_empty(_with_channels(x, channels))


@torch.library.custom_op(f"{DOMAIN}::lora_moe_depthwise_gate", mutates_args=())
def _lora_moe_depthwise_gate(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    rest = (x, weight, lora_A, lora_B, gates, bias)
    if not _by_triton(x):
        return reference.lora_moe_depthwise_gate(*rest, scale)
    from lorair.kernels.triton_depthwise import depthwise_gate

    return depthwise_gate(*rest, scale=scale)


@_lora_moe_depthwise_gate.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    half = x.shape[1] // 2
    return x.new_empty(_with_channels(x, half)), x.new_empty(x.shape[0], half, 1, 1)


@torch.library.custom_op(f"{DOMAIN}::lora_moe_conv_add", mutates_args=())
def _lora_moe_conv_add(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    residual: Tensor,
    channel_scale: Tensor | None,
    scale: float,
) -> Tensor:
    rest = (x, weight, lora_A, lora_B, gates, bias)
    if not _by_triton(x):
        return reference.lora_moe_conv_add(*rest, residual, channel_scale, scale)
    from lorair.kernels.triton_conv import lora_moe_conv1x1

    return lora_moe_conv1x1(*rest, None, channel_scale, residual, scale=scale)


@_lora_moe_conv_add.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    lora_A: Tensor,
    lora_B: Tensor,
    gates: Tensor,
    bias: Tensor,
    residual: Tensor,
    channel_scale: Tensor | None,
    scale: float,
) -> Tensor:
    return torch.empty_like(residual)


@torch.library.custom_op(f"{DOMAIN}::norm_scale_add", mutates_args=())
def _norm_scale_add(x: Tensor, channel_scale: Tensor, channel_shift: Tensor) -> Tensor:
    if not _by_triton(x):
        return reference.norm_scale_add(x, channel_scale, channel_shift)
    from lorair.kernels import triton_conv

    return triton_conv.norm_scale_add(x, channel_scale, channel_shift)


@_norm_scale_add.register_fake
def _(x: Tensor, channel_scale: Tensor, channel_shift: Tensor) -> Tensor:
    return torch.empty_like(x)


def _by_triton(x: Tensor) -> bool:
    """Whether a Triton kernel runs instead of the reference."""
    return _INTERPRETED.get() or (x.is_cuda and _has_triton())


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


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
