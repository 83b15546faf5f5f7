"""The fused operators in float64, pixel by pixel, and how far a kernel may be from them.

A bound is the sum of what each rounding can do, to first order, with every quantity taken
from the inputs: u is the storage type's unit roundoff (half the spacing above 1), v
float32's. Nothing in it is fitted to what a kernel gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from reference import merged_kernel

from lorair.kernels import spec
from lorair.kernels.spec import FORMS, Form, output_shapes

Array = npt.NDArray[np.float64]

ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
V = 2.0**-24
EPSILON = 1e-6
SMALLEST = {torch.float32: 0.0, torch.float16: 2.0**-25, torch.bfloat16: 0.0}
"""Half the spacing of subnormal numbers, where a relative bound ends."""


def shapes_of(
    operator: str,
    size: tuple[int, ...],
    each: bool = False,
    outputs: int = 0,
    experts: int = 3,
    rank: int = 4,
) -> dict[str, tuple[int, ...]]:
    """Of an operator's inputs: x of this size, twice the channels out, gates for each or all."""
    batch, channels, height, width = size
    k = 3 if operator == spec.LORA_MOE_DEPTHWISE_GATE else 1
    outputs = channels if k == 3 else outputs or 2 * channels
    shapes = {
        "x": size,
        "weight": (outputs, channels if k == 1 else 1, k, k),
        "lora_A": (experts, k * rank, k * channels),
        "lora_B": (experts, k if k == 3 else outputs, k * rank),
        "gates": (batch, experts) if each else (experts,),
        "bias": (outputs,),
        "lora_bias": (experts, outputs),
        "channel_scale": (batch, channels, 1, 1),
        "channel_shift": (batch, channels, 1, 1),
        "residual": (batch, outputs, height, width),
    }
    return {name: shapes[name] for name in FORMS[operator].inputs}


def draw(
    operator: str, dtype: torch.dtype, size: tuple[int, ...], each: bool = False, **more: int
) -> dict[str, torch.Tensor]:
    """An operator's inputs by name, none alike; gates of three experts."""
    generator = torch.Generator().manual_seed(4)
    shapes = shapes_of(operator, size, each, **more)
    drawn = {n: (torch.randn(s, generator=generator) * 0.5).to(dtype) for n, s in shapes.items()}
    if "gates" in drawn:
        rows = torch.tensor([[0.25, 0.0, 0.75], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])
        drawn["gates"] = rows[: size[0]] if each else rows[0]
    return drawn


@dataclass(frozen=True)
class Bounded:
    """A result and how far off each value may be."""

    value: Array
    bound: Array


@dataclass(frozen=True)
class Experts:
    """A convolution's parameters in float64; bias and lora_bias may be zeros."""

    weight: Array
    A: Array
    B: Array
    bias: Array
    lora_bias: Array
    scale: float

    def merged(self, gates: Array) -> Array:
        return merged_kernel(self.weight, self.A, self.B, gates, self.scale)

    def size(self, gates: Array) -> Array:
        """The merged kernel with all summands positive: what its roundings scale with."""
        positive = (np.abs(a) for a in (self.weight, self.A, self.B, gates))
        return merged_kernel(*positive, self.scale)


def conv1x1(
    x: Array,
    experts: Experts,
    gates: Array,
    u: float,
    *,
    norm: bool = False,
    gate: bool = False,
    channel_scale: Array | None = None,
    residual: Array | None = None,
) -> Bounded:
    """One picture (C, P), its pixels in a row -> (out, P) or (out/2, P)."""
    W, size = experts.merged(gates)[:, :, 0, 0], experts.size(gates)[:, :, 0, 0]
    scale = np.ones(len(x)) if channel_scale is None else channel_scale
    shift = experts.bias + gates @ experts.lora_bias
    terms = x.shape[0] + experts.A.shape[0] * experts.A.shape[1] + 8
    value, bound = np.zeros((len(W), x.shape[1])), np.zeros((len(W), x.shape[1]))
    for p in range(x.shape[1]):
        column, rstd, pivoted = x[:, p] * scale, 1.0, np.abs(x[:, p] * scale)
        if norm:
            mean = column.mean()
            rstd = 1 / np.sqrt(((column - mean) ** 2).mean() + EPSILON)
            # What is multiplied: distances from a pivot, the first 32 channels' mean or less.
            pivoted = np.abs(column - mean) + pivot_distance(column)
            column = (column - mean) * rstd
        value[:, p] = W @ column + shift
        exact = size @ pivoted * rstd
        # Weights and picture rounded to storage, sums of `terms` products in float32.
        bound[:, p] = (2 * u + 2 * terms * V) * exact + 4 * V * np.abs(shift)
        if norm:
            # The mean's own error and the deviation's, in float32.
            bound[:, p] += terms * V * (size @ (np.abs(x[:, p]) * V + pivoted)) * rstd
    if gate:
        (a, b), (da, db) = np.split(value, 2), np.split(bound, 2)
        value, bound = a * b, np.abs(a) * db + np.abs(b) * da + da * db
    if residual is not None:
        value = value + residual
    return Bounded(value, bound + 1.01 * u * np.abs(value) + 4 * V * np.abs(value))


def pivot_distance(column: Array) -> float:
    """How far the pivot can be from the mean, for any first block of 16 channels or more."""
    blocks = (column[: min(len(column), size)].mean() for size in (16, 32))
    return float(max(abs(block - column.mean()) for block in blocks)) * 1.01


def norm_scale_add(x: Array, scale: Array, shift: Array, u: float) -> Bounded:
    """One picture (C, P)."""
    value, bound = np.zeros_like(x), np.zeros_like(x)
    terms = len(x) + 8
    for p in range(x.shape[1]):
        column = x[:, p]
        mean = column.mean()
        rstd = 1 / np.sqrt(((column - mean) ** 2).mean() + EPSILON)
        value[:, p] = column + (column - mean) * rstd * scale + shift
        # Relative errors of difference, deviation and product; the mean's own, in float32.
        off = np.abs(column - mean) * rstd * terms * V + (np.abs(column) + abs(mean)) * rstd * V
        off += terms * V * np.abs(column - mean).max() * rstd
        bound[:, p] = off * np.abs(scale) + 4 * V * (np.abs(column) + np.abs(shift))
    return Bounded(value, bound + 1.01 * u * np.abs(value))


def depthwise_gate(x: Array, experts: Experts, gates: Array, u: float) -> tuple[Bounded, Bounded]:
    """One picture (2c, H, W) -> (c, H, W) and its mean (c)."""
    height, width = x.shape[1:]
    W, size = experts.merged(gates)[:, 0], experts.size(gates)[:, 0]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    value = np.zeros_like(x) + experts.bias[:, None, None]
    total = np.zeros_like(x)
    for dy in range(3):
        for dx in range(3):
            window = padded[:, dy : dy + height, dx : dx + width]
            value += W[:, dy, dx, None, None] * window
            total += size[:, dy, dx, None, None] * np.abs(window)
    terms = 20 + experts.A.shape[0] * experts.A.shape[1]
    bound = (u + terms * V) * total + 4 * V * np.abs(experts.bias[:, None, None])
    (a, b), (da, db) = np.split(value, 2), np.split(bound, 2)
    value = a * b
    bound = np.abs(a) * db + np.abs(b) * da + da * db + 1.01 * (u + V) * np.abs(value)
    mean = value.mean((1, 2))
    # Each value's error, a sum of many in float32, and the mean's rounding.
    off = bound.mean((1, 2)) + height * width * V * np.abs(value).mean((1, 2))
    return Bounded(value, bound), Bounded(mean, off + 1.01 * u * np.abs(mean))


def loops(
    operator: str, given: Mapping[str, torch.Tensor], scale: float, u: float = 0.0
) -> list[Bounded]:
    """What an operator makes of a kernel's inputs, in the shapes of its results."""
    form, exact = FORMS[operator], {n: t.double().cpu().numpy() for n, t in given.items()}
    pictures = [_picture(form, exact, n, scale, u) for n in range(len(exact["x"]))]
    shapes = output_shapes(operator, [given[n].shape for n in form.inputs], lambda n: n // 2, 1)
    return [
        Bounded(*(np.stack([getattr(p[i], part) for p in pictures]).reshape(shape)
                  for part in ("value", "bound")))
        for i, shape in enumerate(shapes)
    ]  # fmt: skip


def _picture(
    form: Form, exact: Mapping[str, Array], n: int, scale: float, u: float
) -> list[Bounded]:
    """The results of one picture."""
    x = exact["x"][n]
    each = {k: exact[k][n] for k in ("channel_scale", "channel_shift", "residual") if k in exact}
    factors = each["channel_scale"].ravel() if "channel_scale" in each else None
    if "channel_shift" in each:
        return [norm_scale_add(x.reshape(len(x), -1), factors, each["channel_shift"].ravel(), u)]
    weights, nothing = exact["weight"], np.zeros(len(exact["weight"]))
    gates = np.broadcast_to(exact["gates"], (len(exact["x"]), exact["gates"].shape[-1]))[n]
    of_experts = exact.get("lora_bias", np.zeros((len(gates), len(weights))))
    experts = Experts(weights, exact["lora_A"], exact["lora_B"], exact.get("bias", nothing),
                      of_experts, scale)  # fmt: skip
    if "mean" in form.outputs:
        return list(depthwise_gate(x, experts, gates, u))
    residual = each["residual"].reshape(len(weights), -1) if "residual" in each else None
    return [conv1x1(x.reshape(len(x), -1), experts, gates, u, norm=form.norm, gate=form.gate,
                    channel_scale=factors, residual=residual)]  # fmt: skip
