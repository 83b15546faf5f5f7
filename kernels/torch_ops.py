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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
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
        inputs = (x, weight, lora_A, lora_B, gates) + (() if bias is None else (bias,))
        attributes = {
            "strides": [stride, stride],
            "pads": [padding] * 4,
            "group": groups,
            "scale": scale,
        }
        return _symbolic(LORA_MOE_CONV, inputs, attributes, _conv_shape(x, weight, stride, padding))
    if weight.shape[1:] == (x.shape[1], 1, 1) and not torch.is_grad_enabled() and _by_triton(x):
        from lorair.kernels.triton.conv import lora_moe_conv1x1

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
        return _symbolic(name, inputs, {"scale": scale}, _norm_conv_shape(x, weight, gate))
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
        y, mean = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{LORA_MOE_DEPTHWISE_GATE}",
            inputs,
            {"group": x.shape[1], "scale": scale},
            dtypes=(x.dtype, x.dtype),
            shapes=_depthwise_shapes(x),
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


def _by_triton(x: Tensor) -> bool:
    """Whether a Triton kernel runs instead of the reference."""
    return _INTERPRETED.get() or (x.is_cuda and has_triton())


@cache
def has_triton() -> bool:
    """Whether the package triton is installed."""
    return find_spec("triton") is not None


def _operator(
    expression: Callable[..., Any], launch: Callable[..., Any], fake: Callable[..., Any]
) -> Callable[..., Any]:
    """The custom operator of an expression's name and signature.

    Args:
        expression: of `torch_reference.py`.
        launch: runs the Triton kernel, given the same arguments.
        fake: makes empty results of the right shapes, given the same arguments.
    """

    @wraps(expression)  # the operator's schema is made from the signature
    def run(*arguments: Any) -> Any:
        return (launch if _by_triton(arguments[0]) else expression)(*arguments)

    operator = torch.library.custom_op(f"{DOMAIN}::{expression.__name__}", run, mutates_args=())
    operator.register_fake(fake)
    return operator


def _launch_norm_conv(*arguments: Any) -> Tensor:
    from lorair.kernels.triton.conv import lora_moe_conv1x1

    *tensors, scale, gate = arguments
    return lora_moe_conv1x1(*tensors, scale=scale, norm=True, gate=gate)


def _launch_depthwise_gate(*arguments: Any) -> tuple[Tensor, Tensor]:
    from lorair.kernels.triton.depthwise import depthwise_gate

    *tensors, scale = arguments
    return depthwise_gate(*tensors, scale=scale)


def _launch_conv_add(*arguments: Any) -> Tensor:
    from lorair.kernels.triton.conv import lora_moe_conv1x1

    x, weight, lora_A, lora_B, gates, bias, residual, channel_scale, scale = arguments
    return lora_moe_conv1x1(
        x, weight, lora_A, lora_B, gates, bias, None, channel_scale, residual, scale=scale
    )


def _launch_norm_scale_add(*arguments: Any) -> Tensor:
    from lorair.kernels.triton import conv as triton_conv

    return triton_conv.norm_scale_add(*arguments)


def _fake_norm_conv(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    *_, gate = rest
    return x.new_empty(_norm_conv_shape(x, weight, gate))


def _fake_depthwise_gate(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    y, mean = _depthwise_shapes(x)
    return x.new_empty(y), x.new_empty(mean)


def _fake_conv_add(*arguments: Any) -> Tensor:
    *_, residual, _channel_scale, _scale = arguments
    return torch.empty_like(residual)


def _fake_norm_scale_add(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


_norm_lora_moe_conv = _operator(reference.norm_lora_moe_conv, _launch_norm_conv, _fake_norm_conv)
_lora_moe_depthwise_gate = _operator(
    reference.lora_moe_depthwise_gate, _launch_depthwise_gate, _fake_depthwise_gate
)
_lora_moe_conv_add = _operator(reference.lora_moe_conv_add, _launch_conv_add, _fake_conv_add)
_norm_scale_add = _operator(reference.norm_scale_add, _launch_norm_scale_add, _fake_norm_scale_add)


Shape = tuple[int, int, int, int]


def _conv_shape(x: Tensor, weight: Tensor, stride: int, padding: int) -> Shape:
    if (stride, padding) not in {(1, weight.shape[-1] // 2), (2, 0)}:
        raise NotImplementedError(f"no shape rule for stride {stride} with padding {padding}")
    # All uses keep the size or divide it exactly, so no floor has to be traced.
    height, width = (x.shape[2], x.shape[3]) if stride == 1 else (x.shape[2] // 2, x.shape[3] // 2)
    return x.shape[0], weight.shape[0], height, width


def _norm_conv_shape(x: Tensor, weight: Tensor, gate: bool) -> Shape:
    channels = weight.shape[0] // 2 if gate else weight.shape[0]
    return x.shape[0], channels, x.shape[2], x.shape[3]


def _depthwise_shapes(x: Tensor) -> tuple[Shape, Shape]:
    batch, channels, height, width = x.shape
    return (batch, channels // 2, height, width), (batch, channels // 2, 1, 1)


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
