import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operators import draw as draw_inputs
from operators import loops

from lorair.kernels import spec, torch_ops
from lorair.kernels.torch_ops import lora_moe_conv
from lorair.kernels.torch_reference import channel_norm, function_of, merge_experts


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


@pytest.mark.parametrize("operator", spec.OPERATORS)
def test_operators_equal_the_loops(operator: str) -> None:
    given = draw_inputs(operator, torch.float32, (2, 6, 5, 7), each=True)
    found = compute(operator, given)
    for one, wanted in zip(found, loops(operator, given, 2.0), strict=True):
        np.testing.assert_allclose(one, wanted.value, rtol=1e-4, atol=1e-4)


PICTURES = ("x", "residual", "channel_scale", "channel_shift")


@pytest.mark.parametrize("operator", spec.OPERATORS)
def test_gates_per_picture_of_every_operator(operator: str) -> None:
    given = draw_inputs(operator, torch.float32, (3, 4, 6, 8), each=True)
    gates, together = given.get("gates", torch.zeros(3)), compute(operator, given)
    for i in range(3):
        its = {n: t[i : i + 1] for n, t in given.items() if n in PICTURES} | {"gates": gates[i]}
        alone = compute(operator, {name: its.get(name, given[name]) for name in given})
        torch.testing.assert_close([one[i : i + 1] for one in together], alone)


def compute(operator: str, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    found = function_of(operator, 2.0, torch_ops)(**given)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("operator", [o for o in spec.OPERATORS if o != spec.LORA_MOE_CONV])
def test_opcheck(operator: str, dtype: torch.dtype, each: bool) -> None:
    """Schema, fake kernel and dispatch, as PyTorch checks custom operators."""
    given = draw_inputs(operator, dtype, (2, 4, 5, 6), each)
    function = function_of(operator, 2.0)
    custom = getattr(torch.ops.lorair, function.func.__name__).default
    torch.library.opcheck(custom, (), {**given, **function.keywords})
