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
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from lorair.kernels import spec
from lorair.kernels import torch_reference as reference

P = ParamSpec("P")
R = TypeVar("R")

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
        window = {"strides": [stride, stride], "pads": [padding] * 4}
        attributes = {**window, "group": groups, "scale": scale}
        return _node(
            spec.LORA_MOE_CONV, inputs, attributes, [_conv_shape(x, weight, stride, padding)]
        )
    if weight.shape[1:] == (x.shape[1], 1, 1) and _by_triton(x) and not torch.is_grad_enabled():
        inputs = (x, weight, lora_A, lora_B, gates)
        return _launch(spec.LORA_MOE_CONV, inputs, {"scale": scale}, bias)
    geometry = {"stride": stride, "padding": padding, "groups": groups}
    return reference.lora_moe_conv(x, weight, lora_A, lora_B, gates, bias, **geometry, scale=scale)


def _by_triton(x: Tensor) -> bool:
    """Whether a Triton kernel runs instead of the reference."""
    return _INTERPRETED.get() or (x.is_cuda and has_triton())


@cache
def has_triton() -> bool:
    """Return whether the package triton is installed."""
    return find_spec("triton") is not None


Call = tuple[str, Sequence[Tensor], dict[str, Any]]
"""An operator of the domain, its inputs in order, and its attributes."""

Shape = tuple[int, ...]


def _norm_conv_call(*inputs: Tensor, scale: float, gate: bool = False) -> Call:
    operator = spec.NORM_LORA_MOE_CONV_GATE if gate else spec.NORM_LORA_MOE_CONV
    return operator, inputs, {"scale": scale}


def _depthwise_gate_call(*inputs: Tensor, scale: float) -> Call:
    return spec.LORA_MOE_DEPTHWISE_GATE, inputs, {"group": inputs[0].shape[1], "scale": scale}


def _conv_add_call(*inputs: Any, scale: float, channel_scale: Tensor | None = None) -> Call:
    # PyTorch hands the eighth input over in its place, callers by its name.
    x, *rest, factors = (*inputs, channel_scale)[:8]
    if factors is None:
        return spec.LORA_MOE_CONV_ADD, (x, *rest), {"scale": scale}
    return spec.SCALE_LORA_MOE_CONV_ADD, (x, factors, *rest), {"scale": scale}


def _norm_scale_add_call(*inputs: Tensor) -> Call:
    return spec.NORM_SCALE_ADD, inputs, {}


def _operator(expression: Callable[P, R], call: Callable[..., Call]) -> Callable[P, R]:
    """The custom operator of an expression's name and signature.

    call: which operator of the domain computes it, given the same arguments.
    """

    @wraps(expression)  # the operator's schema is made from the signature
    def run(*inputs: Any, **rest: Any) -> Any:
        if _by_triton(inputs[0]):
            return _launch(*call(*inputs, **rest))
        return expression(*inputs, **rest)

    operator = torch.library.custom_op(
        f"{spec.DOMAIN}::{expression.__name__}", run, mutates_args=()
    )

    @operator.register_fake
    def _(*inputs: Any, **rest: Any) -> Any:
        name, tensors, _ = call(*inputs, **rest)
        return _results([inputs[0].new_empty(shape) for shape in _shapes(name, tensors)])

    @wraps(expression)
    def export_or_run(*inputs: P.args, **rest: P.kwargs) -> Any:
        if torch.compiler.is_exporting():
            return _node(*call(*inputs, **rest))
        return operator(*inputs, **rest)

    return export_or_run


def _launch(
    operator: str, inputs: Sequence[Tensor], attributes: dict[str, Any], bias: Tensor | None = None
) -> Any:
    from lorair.kernels.triton.run import run

    tensors = dict(zip(spec.FORMS[operator].inputs, inputs, strict=True))
    more = {} if bias is None else {"bias": bias}
    return _results(run(operator, {**tensors, **more}, attributes.get("scale", 0.0)))


def _results(tensors: Sequence[Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _shapes(operator: str, inputs: Sequence[Tensor]) -> list[Shape]:
    return spec.output_shapes(operator, [t.shape for t in inputs], lambda side: side // 2, 1)


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
        f"{spec.DOMAIN}::{operator}",
        inputs,
        attributes,
        dtypes=[inputs[0].dtype] * len(shapes),
        shapes=shapes,
        version=spec.DOMAIN_VERSION,
    )
    return _results(made)


norm_lora_moe_conv = _operator(reference.norm_lora_moe_conv, _norm_conv_call)
lora_moe_depthwise_gate = _operator(reference.lora_moe_depthwise_gate, _depthwise_gate_call)
lora_moe_conv_add = _operator(reference.lora_moe_conv_add, _conv_add_call)
norm_scale_add = _operator(reference.norm_scale_add, _norm_scale_add_call)
