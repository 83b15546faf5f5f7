"""The operators in PyTorch, `torch.ops.lorair.*`; each is exported as one ONNX node.

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
    FORMS,
    LORA_MOE_CONV,
    LORA_MOE_CONV_ADD,
    LORA_MOE_DEPTHWISE_GATE,
    NORM_LORA_MOE_CONV,
    NORM_LORA_MOE_CONV_GATE,
    NORM_SCALE_ADD,
    SCALE_LORA_MOE_CONV_ADD,
    output_shapes,
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
    """Compute `LoRAMoEConv`: (B, in, H, W) -> (B, out, H', W'), with one padding all round."""
    if torch.compiler.is_exporting():
        inputs = (x, weight, lora_A, lora_B, gates) + (() if bias is None else (bias,))
        attributes = {
            "strides": [stride, stride],
            "pads": [padding] * 4,
            "group": groups,
            "scale": scale,
        }
        return _node(LORA_MOE_CONV, inputs, attributes, [_conv_shape(x, weight, stride, padding)])
    if weight.shape[1:] == (x.shape[1], 1, 1) and _by_triton(x) and not torch.is_grad_enabled():
        inputs = (x, weight, lora_A, lora_B, gates)
        return _launch(LORA_MOE_CONV, inputs, {"scale": scale}, bias)
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
    """Compute `NormLoRAMoEConv`, or with `gate` `NormLoRAMoEConvGate`.

    (B, c, H, W) -> (B, out, H, W), with `gate` (B, out/2, H, W).
    """
    return _norm_lora_moe_conv(x, weight, lora_A, lora_B, gates, bias, lora_bias, scale, gate)


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
    return _lora_moe_depthwise_gate(x, weight, lora_A, lora_B, gates, bias, scale)


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
    """Compute `LoRAMoEConvAdd`, or with channel_scale (B, c, 1, 1) `ScaleLoRAMoEConvAdd`.

    (B, c, H, W) and residual (B, out, H, W) -> (B, out, H, W).
    """
    return _lora_moe_conv_add(
        x, weight, lora_A, lora_B, gates, bias, residual, channel_scale, scale
    )


def norm_scale_add(x: Tensor, channel_scale: Tensor, channel_shift: Tensor) -> Tensor:
    """Compute `NormScaleAdd`: (B, c, H, W), scale and shift (B, c, 1, 1) -> (B, c, H, W)."""
    return _norm_scale_add(x, channel_scale, channel_shift)


def _by_triton(x: Tensor) -> bool:
    """Whether a Triton kernel runs instead of the reference."""
    return _INTERPRETED.get() or (x.is_cuda and has_triton())


@cache
def has_triton() -> bool:
    """Return whether the package triton is installed."""
    return find_spec("triton") is not None


Call = tuple[str, Sequence[Tensor], dict[str, Any]]
"""An operator of the domain, its inputs in order, and its attributes."""


def _norm_conv_call(*arguments: Any) -> Call:
    *inputs, scale, gate = arguments
    operator = NORM_LORA_MOE_CONV_GATE if gate else NORM_LORA_MOE_CONV
    return operator, inputs, {"scale": scale}


def _depthwise_gate_call(*arguments: Any) -> Call:
    *inputs, scale = arguments
    return LORA_MOE_DEPTHWISE_GATE, inputs, {"group": inputs[0].shape[1], "scale": scale}


def _conv_add_call(*arguments: Any) -> Call:
    x, *rest, channel_scale, scale = arguments
    if channel_scale is None:
        return LORA_MOE_CONV_ADD, (x, *rest), {"scale": scale}
    return SCALE_LORA_MOE_CONV_ADD, (x, channel_scale, *rest), {"scale": scale}


def _norm_scale_add_call(*inputs: Tensor) -> Call:
    return NORM_SCALE_ADD, inputs, {}


def _operator(expression: Callable[..., Any], call: Callable[..., Call]) -> Callable[..., Any]:
    """The custom operator of an expression's name and signature.

    Args:
        expression: of `torch_reference.py`.
        call: which operator of the domain computes it, given the same arguments.
    """

    @wraps(expression)  # the operator's schema is made from the signature
    def run(*arguments: Any) -> Any:
        return _launch(*call(*arguments)) if _by_triton(arguments[0]) else expression(*arguments)

    operator = torch.library.custom_op(f"{DOMAIN}::{expression.__name__}", run, mutates_args=())

    @operator.register_fake
    def _(*arguments: Any) -> Any:
        name, inputs, _ = call(*arguments)
        return _results([arguments[0].new_empty(shape) for shape in _shapes(name, inputs)])

    def export_or_run(*arguments: Any) -> Any:
        if torch.compiler.is_exporting():
            return _node(*call(*arguments))
        return operator(*arguments)

    return export_or_run


def _launch(
    operator: str,
    inputs: Sequence[Tensor],
    attributes: dict[str, Any],
    bias: Tensor | None = None,
) -> Any:
    from lorair.kernels.triton.run import run

    tensors = dict(zip(FORMS[operator].inputs, inputs, strict=True))
    more = {} if bias is None else {"bias": bias}
    return _results(run(operator, {**tensors, **more}, attributes.get("scale", 0.0)))


def _results(tensors: Sequence[Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


Shape = tuple[int, ...]


def _shapes(operator: str, inputs: Sequence[Tensor]) -> list[Shape]:
    return output_shapes(operator, [t.shape for t in inputs], lambda side: side // 2, 1)


def _conv_shape(x: Tensor, weight: Tensor, stride: int, padding: int) -> Shape:
    if (stride, padding) not in {(1, weight.shape[-1] // 2), (2, 0)}:
        raise NotImplementedError(f"no shape rule for stride {stride} with padding {padding}")
    # All uses keep the size or divide it exactly, so no floor has to be traced.
    height, width = (x.shape[2], x.shape[3]) if stride == 1 else (x.shape[2] // 2, x.shape[3] // 2)
    return x.shape[0], weight.shape[0], height, width


def _node(
    operator: str,
    inputs: Sequence[Tensor],
    attributes: dict[str, Any],
    shapes: list[Shape] | None = None,
) -> Any:
    """The results of one ONNX node; their shapes, if not given, are those of the kernel."""
    shapes = _shapes(operator, inputs) if shapes is None else shapes
    made = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{operator}",
        inputs,
        attributes,
        dtypes=[inputs[0].dtype] * len(shapes),
        shapes=shapes,
        version=DOMAIN_VERSION,
    )
    return _results(made)


_norm_lora_moe_conv = _operator(reference.norm_lora_moe_conv, _norm_conv_call)
_lora_moe_depthwise_gate = _operator(reference.lora_moe_depthwise_gate, _depthwise_gate_call)
_lora_moe_conv_add = _operator(reference.lora_moe_conv_add, _conv_add_call)
_norm_scale_add = _operator(reference.norm_scale_add, _norm_scale_add_call)
