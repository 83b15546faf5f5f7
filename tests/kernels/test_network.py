"""The restoration network built from fused operators: by their reference, and by the kernels."""

from dataclasses import replace

import golden
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lorair.exporter.checkpoint.checkpoint import load_pair
from lorair.exporter.checkpoint.synth import draw_pair
from lorair.exporter.model.config import TINY
from lorair.exporter.model.fold import fold
from lorair.kernels import torch_ops
from lorair.kernels.tiles import ConvTile, DepthwiseTile
from lorair.runtime.pixels import to_planes
from lorair.runtime.routing.route import gates_from_logits

needs_triton = pytest.mark.skipif(not torch_ops.has_triton(), reason="triton is not installed")

GATES = np.array([0.5, 0.0, 0.5])


@pytest.fixture
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes milliseconds a program, whatever its size: make them large."""
    from lorair.kernels import launches, variants
    from lorair.kernels.triton import run as module

    tiles = (ConvTile(m=128, n=2048, k=32, warps=4, stages=1),)
    monkeypatch.setattr(launches, "conv_tiles", lambda *_, **__: tiles)
    for one in (launches, variants):
        monkeypatch.setattr(one, "DEPTHWISE", DepthwiseTile(h=64, w=128, warps=4))
    monkeypatch.setattr(module, "_variants", module._variants.__wrapped__)


def run(net: nn.Module, image: np.ndarray, prior: np.ndarray, gates: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        tensors = map(torch.from_numpy, (image, prior, gates.astype(np.float32)))
        restored: np.ndarray = net(*tensors).numpy()
        return restored


@needs_triton
@pytest.mark.usefixtures("few_programs")
def test_kernels_equal_the_unfused_network() -> None:
    """Of two levels: the interpreter runs a program a channel of every block."""
    config = replace(TINY.restoration, enc_blk_nums=(1,), dec_blk_nums=(1,), prior=64)
    router = replace(TINY.router, projection=128)
    net = draw_pair(replace(TINY, restoration=config, router=router), seed=1).modules()[1]
    rng = np.random.default_rng(1)
    image = rng.random((1, 3, config.stride, 2 * config.stride), np.float32)
    prior = rng.normal(size=(1, config.prior)).astype(np.float32)
    wanted = run(net, image, prior, GATES)
    with torch_ops.interpreted():
        found = run(fold(net), image, prior, GATES)
    assert not np.array_equal(found, wanted)  # other code has run
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@golden.needs_golden
@pytest.mark.parametrize("name", golden.NAMES)
def test_golden_cases(name: str) -> None:
    case = golden.load_case(name)
    pair = load_pair(case.folder / "ir.pth", case.folder / "router.pth", top_k=case.top_k)
    with Image.open(case.picture) as picture:
        image = to_planes(np.asarray(picture.convert("RGB")), 16)
    gates = gates_from_logits(case.arrays["logits"][0], case.top_k)
    found = run(fold(pair.modules()[1]), image, case.arrays["prior"], gates)
    wanted = case.arrays["restored"]
    height, width = wanted.shape[2:]
    np.testing.assert_allclose(found[..., :height, :width], wanted, atol=1e-4)
