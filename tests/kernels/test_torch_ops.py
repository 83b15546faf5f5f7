import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorair.kernels.torch_ops import (
    lora_moe_conv,
    lora_moe_conv_add,
    lora_moe_depthwise_gate,
    norm_lora_moe_conv,
    norm_scale_add,
)
from lorair.kernels.torch_reference import channel_norm, merge_experts


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


shapes = st.tuples(
    st.integers(1, 5),  # experts
    st.integers(1, 4),  # rank
    st.sampled_from([1, 2, 3]),  # kernel
    st.integers(1, 3),  # groups
    st.integers(1, 3),  # input channels a group
    st.integers(1, 3),  # output channels a group
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**31))
def test_merge_equals_one_expert_after_the_other(
    shape: tuple[int, int, int, int, int, int], seed: int
) -> None:
    experts, rank, k, groups, cin, cout = shape
    weight = draw(seed, cout * groups, cin, k, k)
    A = draw(seed + 1, experts, rank * k, cin * groups * k)
    B = draw(seed + 2, experts, cout * k, rank * k)
    gates = np.abs(draw(seed + 3, experts))
    merged = merge_experts(*map(torch.from_numpy, (weight, A, B, gates)), scale=2.0)
    wanted = reference.merged_kernel(weight, A, B, gates, 2.0)
    # Each value is a sum of 1 + experts*rank*k products of values of order 1.
    np.testing.assert_allclose(merged, wanted, rtol=1e-5, atol=2e-6 * (1 + experts * rank * k))


def test_gates_of_zero_leave_the_weight_untouched() -> None:
    weight = torch.randn(4, 3, 3, 3)
    merged = merge_experts(
        weight, torch.randn(2, 6, 9), torch.randn(2, 12, 6), torch.zeros(2), scale=2.0
    )
    assert torch.equal(merged, weight)


@pytest.mark.parametrize(
    ("k", "stride", "padding", "groups"), [(1, 1, 0, 1), (3, 1, 1, 4), (2, 2, 0, 1)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_gates_per_picture_equal_pictures_one_by_one(
    k: int, stride: int, padding: int, groups: int, bias: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 8)
    weight = torch.randn(8, 4 // groups, k, k)
    A, B = torch.randn(5, 2 * k, 4 * k), torch.randn(5, 8 // groups * k, 2 * k)
    gates = torch.rand(3, 5)
    b = torch.randn(8) if bias else None
    geometry = {"stride": stride, "padding": padding, "groups": groups, "scale": 2.0}
    together = lora_moe_conv(x, weight, A, B, gates, b, **geometry)
    for i in range(3):
        alone = lora_moe_conv(x[i : i + 1], weight, A, B, gates[i], b, **geometry)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_conv_equals_the_loops() -> None:
    x, weight, bias = draw(0, 4, 6, 8), draw(1, 8, 1, 3, 3), draw(2, 8)
    A, B, gates = draw(3, 2, 6, 12), draw(4, 2, 6, 6), np.array([0.3, 0.7], np.float32)
    # Depthwise with two outputs a channel: out/groups = 2.
    tensors = (torch.from_numpy(a) for a in (x[None], weight, A, B, gates, bias))
    found = lora_moe_conv(*tensors, stride=1, padding=1, groups=4, scale=2.0)
    kernel = reference.merged_kernel(weight, A, B, gates)
    wanted = reference.conv2d(x, kernel, bias, pad=1, groups=4)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_parameter() -> None:
    weight, A, B = (
        torch.randn(s, requires_grad=True) for s in ((4, 4, 1, 1), (2, 3, 4), (2, 4, 3))
    )
    out = lora_moe_conv(
        torch.randn(1, 4, 2, 2),
        weight,
        A,
        B,
        torch.tensor([0.5, 0.5]),
        None,
        stride=1,
        padding=0,
        groups=1,
        scale=2.0,
    )
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (weight, A, B))


@pytest.mark.parametrize(
    ("mean", "deviation"), [(0.0, 1.0), (300.0, 0.5), (0.0, 0.0), (-7.0, 1e-4), (0.0, 3e4)]
)
def test_norm_against_float64(mean: float, deviation: float) -> None:
    x = (mean + deviation * draw(0, 1, 24, 5, 7)).astype(np.float32)
    found = channel_norm(torch.from_numpy(x))
    wanted = reference.layer_norm(x[0].astype(np.float64), np.ones(24), np.zeros(24))
    # The mean's rounding, 1 ulp of |mean|, is divided by the deviation (at least 1e-3).
    bound = 4 * abs(mean) * 2**-23 / max(deviation, 1e-3) + 1e-5
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=bound * 4)


def test_norm_in_half_precision_does_not_overflow() -> None:
    out = channel_norm(torch.tensor([6e4, -6e4, 6e4, -6e4]).reshape(1, 4, 1, 1).half())
    assert out.dtype == torch.float16
    assert out.flatten().tolist() == [1.0, -1.0, 1.0, -1.0]


class Fused:
    """Drawn inputs of the fused operators, and the same in loops."""

    c = 4

    def __init__(self, out: int, k: int = 1, groups: int = 1) -> None:
        self.x = draw(0, 1, self.c, 5, 6)
        self.weight = draw(1, out, self.c // groups, k, k)
        self.A, self.B = draw(2, 3, 2 * k, self.c * k), draw(3, 3, out // groups * k, 2 * k)
        self.gates = np.array([0.2, 0.0, 0.8], np.float32)
        self.bias, self.lora_bias = draw(4, out), draw(5, 3, out)

    @property
    def experts(self) -> list[torch.Tensor]:
        return [torch.from_numpy(a) for a in (self.weight, self.A, self.B, self.gates, self.bias)]

    def conv(self, x: np.ndarray, bias: np.ndarray | None = None, **geometry: int) -> np.ndarray:
        kernel = reference.merged_kernel(self.weight, self.A, self.B, self.gates)
        return reference.conv2d(x, kernel, self.bias if bias is None else bias, **geometry)


@pytest.mark.parametrize("gate", [False, True])
def test_norm_conv_equals_the_loops(gate: bool) -> None:
    case = Fused(out=8)
    x, lora_bias = torch.from_numpy(case.x), torch.from_numpy(case.lora_bias)
    found = norm_lora_moe_conv(x, *case.experts, lora_bias, scale=2.0, gate=gate)
    normed = reference.layer_norm(case.x[0].astype(np.float64), np.ones(4), np.zeros(4))
    wanted = case.conv(normed, case.bias + case.gates @ case.lora_bias)
    wanted = wanted[:4] * wanted[4:] if gate else wanted
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-4)


def test_depthwise_gate_equals_the_loops() -> None:
    case = Fused(out=4, k=3, groups=4)
    found, mean = lora_moe_depthwise_gate(torch.from_numpy(case.x), *case.experts, scale=2.0)
    wanted = case.conv(case.x[0], pad=1, groups=4)
    wanted = wanted[:2] * wanted[2:]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mean[0, :, 0, 0], wanted.mean((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scaled", [False, True])
def test_conv_add_equals_the_loops(scaled: bool) -> None:
    case = Fused(out=6)
    residual, factor = draw(6, 1, 6, 5, 6), draw(7, 1, 4, 1, 1)
    found = lora_moe_conv_add(
        torch.from_numpy(case.x),
        *case.experts,
        torch.from_numpy(residual),
        scale=2.0,
        channel_scale=torch.from_numpy(factor) if scaled else None,
    )
    wanted = residual[0] + case.conv(case.x[0] * (factor[0] if scaled else 1))
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-4)


def test_norm_scale_add_equals_the_loops() -> None:
    x, scale, shift = draw(0, 1, 6, 3, 4), draw(1, 1, 6, 1, 1), draw(2, 1, 6, 1, 1)
    found = norm_scale_add(*map(torch.from_numpy, (x, scale, shift)))
    normed = reference.layer_norm(x[0].astype(np.float64), scale[0, :, 0, 0], shift[0, :, 0, 0])
    np.testing.assert_allclose(found[0], x[0] + normed, rtol=1e-4, atol=1e-5)


def test_fused_operators_take_gates_per_picture() -> None:
    torch.manual_seed(0)
    x, gates = torch.randn(3, 4, 6, 8), torch.rand(3, 5)
    weight, A, B = torch.randn(8, 4, 1, 1), torch.randn(5, 2, 4), torch.randn(5, 8, 2)
    bias, lora_bias, residual = torch.randn(8), torch.randn(5, 8), torch.randn(3, 8, 6, 8)
    together = norm_lora_moe_conv(x, weight, A, B, gates, bias, lora_bias, scale=2.0, gate=True)
    added = lora_moe_conv_add(x, weight, A, B, gates, bias, residual, scale=2.0)
    for i in range(3):
        one, its = x[i : i + 1], gates[i]
        alone = norm_lora_moe_conv(one, weight, A, B, its, bias, lora_bias, scale=2.0, gate=True)
        torch.testing.assert_close(together[i : i + 1], alone)
        alone = lora_moe_conv_add(one, weight, A, B, its, bias, residual[i : i + 1], scale=2.0)
        torch.testing.assert_close(added[i : i + 1], alone)


@pytest.mark.parametrize("gates", [(3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_opcheck(gates: tuple[int, ...], dtype: torch.dtype) -> None:
    """Schema, fake kernel and dispatch, as PyTorch checks custom operators."""
    ops, g = torch.ops.lorair, torch.rand(gates)
    x, x8 = torch.randn(2, 4, 5, 6), torch.randn(2, 8, 5, 6)
    weights = torch.randn(8, 4, 1, 1), torch.randn(3, 2, 4), torch.randn(3, 8, 2)
    depthwise = torch.randn(8, 1, 3, 3), torch.randn(3, 6, 24), torch.randn(3, 3, 6)
    bias, lora_bias = torch.randn(8), torch.randn(3, 8)
    factor = torch.rand(2, 4, 1, 1)
    calls = [
        (ops.norm_lora_moe_conv, (x, *weights, g, bias, lora_bias), {"scale": 2.0, "gate": True}),
        (ops.norm_lora_moe_conv, (x, *weights, g, bias, lora_bias), {"scale": 2.0}),
        (ops.lora_moe_depthwise_gate, (x8, *depthwise, g, bias), {"scale": 2.0}),
        (ops.lora_moe_conv_add, (x, *weights, g, bias, x8), {"scale": 2.0}),
        (ops.lora_moe_conv_add, (x, *weights, g, bias, x8), {"scale": 2.0, "channel_scale": factor}),
        (ops.norm_scale_add, (x, factor, factor), {}),
    ]
    for operator, inputs, rest in calls:
        cast = {id(t): t.to(dtype) for t in (*inputs, factor) if t is not g}
        named = {name: cast.get(id(value), value) for name, value in rest.items()}
        torch.library.opcheck(operator.default, [cast.get(id(t), t) for t in inputs], named)
