"""The exported form is the checkpoint's network, for any gates."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.model import RestorationNet
from lorair.exporter.model.fold import fold
from lorair.exporter.model.fused import FusedBlock, FusedStage
from lorair.exporter.model.restoration import LayerNorm2d, NAFBlock


@pytest.fixture(scope="module")
def net(tiny_pair: Pair) -> RestorationNet:
    return tiny_pair.modules()[1]


@pytest.fixture(scope="module")
def folded(net: RestorationNet) -> RestorationNet:
    return fold(net)


@settings(max_examples=15, deadline=None)
@given(
    gates=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    size=st.tuples(st.sampled_from([16, 48]), st.sampled_from([16, 32])),
    seed=st.integers(0, 2**31),
)
def test_equal_for_any_gates(
    net: RestorationNet,
    folded: RestorationNet,
    gates: list[float],
    size: tuple[int, int],
    seed: int,
) -> None:
    rng = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, *size, generator=rng)
    prior = torch.randn(1, 384, generator=rng)
    with torch.inference_mode():
        wanted = net(image, prior, torch.tensor(gates))
        found = folded(image, prior, torch.tensor(gates))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_equal_for_gates_per_picture(net: RestorationNet, folded: RestorationNet) -> None:
    image, prior, gates = torch.rand(2, 3, 32, 32), torch.randn(2, 384), torch.rand(2, 3)
    with torch.inference_mode():
        torch.testing.assert_close(
            folded(image, prior, gates), net(image, prior, gates), rtol=0, atol=1e-5
        )


def test_every_folded_part_matters(net: RestorationNet) -> None:
    """Equality would mean little if the affine parts, beta and gamma were all trivial."""
    for block in (m for m in net.modules() if isinstance(m, NAFBlock)):
        for parameter in (block.beta, block.gamma, block.norm1.bias, block.norm2.bias):
            assert parameter.abs().max() > 0.01
        assert (block.norm1.weight - 1).abs().max() > 0.01


def test_nothing_unfolded_is_left_and_the_source_is_untouched(net: RestorationNet) -> None:
    before = copy.deepcopy(net.state_dict())
    folded = fold(net)
    kinds = [type(module) for module in folded.modules()]
    assert kinds.count(FusedBlock) == 10
    assert kinds.count(FusedStage) == 5
    assert NAFBlock not in kinds
    assert LayerNorm2d not in kinds
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
