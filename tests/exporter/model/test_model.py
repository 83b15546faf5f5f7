"""Both branches against independent implementations."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.checkpoint.synth import draw_pair
from lorair.exporter.model.config import TINY
from lorair.exporter.model.lora_moe import gates_from_logits


@pytest.fixture(scope="module")
def gates() -> np.ndarray:
    return np.array([0.25, 0.0, 0.75], np.float32)


@pytest.fixture(scope="module")
def prior() -> np.ndarray:
    return np.random.default_rng(5).normal(size=384).astype(np.float32) * 0.3


def test_restoration_equals_the_loops(gates: np.ndarray, prior: np.ndarray) -> None:
    """Of two levels, the second of two blocks: the loops take a millisecond a channel pair."""
    config = replace(TINY.restoration, enc_blk_nums=(1, 2), dec_blk_nums=(1, 1))
    pair = draw_pair(replace(TINY, restoration=config), seed=1)
    _, net = pair.modules()
    image = np.random.default_rng(6).random((3, 5, 19), dtype=np.float32)
    with torch.inference_mode():
        found = net.restore(*map(torch.from_numpy, (image[None], prior[None], gates)))
    loops = reference.Restoration({k: v.numpy() for k, v in pair.ir.items()}, gates)
    np.testing.assert_allclose(found[0], loops(image, prior), atol=2e-5)


def test_pictures_with_different_routes_share_a_batch(tiny_pair: Pair, prior: np.ndarray) -> None:
    _, net = tiny_pair.modules()
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 32)
    priors = torch.from_numpy(np.stack([prior, -prior]))
    gates = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.4, 0.6]])
    with torch.inference_mode():
        together = net(images, priors, gates)
        alone = [net(images[i : i + 1], priors[i : i + 1], gates[i]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-6, rtol=1e-5)


def test_half_precision_keeps_the_picture(
    tiny_pair: Pair, gates: np.ndarray, prior: np.ndarray
) -> None:
    _, net = tiny_pair.modules()
    image = torch.rand(1, 3, 32, 32)
    inputs = (image, torch.from_numpy(prior)[None], torch.from_numpy(gates))
    with torch.inference_mode():
        wanted = net(*inputs)
        found = net.half()(*inputs)
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() < 5e-3


def test_router_equals_transformers_clip(tiny_pair: Pair) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = TINY.router
    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=config.hidden,
            intermediate_size=config.mlp,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.side,
            patch_size=config.patch,
            projection_dim=config.projection,
            hidden_act="quick_gelu",
        )
    ).eval()
    prefix = "clip_model.vision_tower."
    tower = {
        name.removeprefix(prefix): tensor.float()
        for name, tensor in tiny_pair.router.items()
        if name.startswith(prefix)
    }
    missing, unexpected = clip.load_state_dict(tower, strict=False)
    assert not unexpected
    assert all("position_ids" in name for name in missing)
    router, _ = tiny_pair.modules()
    views = torch.randn(2, 5, 3, config.side, config.side)
    with torch.inference_mode():
        embeds = clip(pixel_values=views.flatten(0, 1)).image_embeds.unflatten(0, (2, 5))
        logits, prior, gates = router(views)
        both = torch.cat([embeds[:, 0], embeds[:, 1:].mean(1)], 1)
        weights = {k: v.float() for k, v in tiny_pair.router.items()}
        h = both
        for i in (0, 2):
            h = h @ weights[f"de_extractor.{i}.weight"].T + weights[f"de_extractor.{i}.bias"]
            h = torch.nn.functional.gelu(h)
    torch.testing.assert_close(prior, h, atol=2e-5, rtol=1e-4)
    wanted = h @ weights["cls_head.weight"].T + weights["cls_head.bias"]
    torch.testing.assert_close(logits, wanted, atol=2e-4, rtol=1e-4)
    for row, row_gates in zip(logits.numpy(), gates.numpy(), strict=True):
        np.testing.assert_allclose(row_gates, reference.top_k_gates(row, TINY.top_k), atol=1e-6)


@pytest.mark.parametrize("top_k", [1, 2, 3, 5])
def test_gates(top_k: int) -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * 3
    found = gates_from_logits(torch.from_numpy(logits), top_k).numpy()
    for row, wanted in zip(found, logits, strict=True):
        np.testing.assert_allclose(row, reference.top_k_gates(wanted, top_k), atol=1e-6)
    assert ((found > 0).sum(1) == top_k).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_equal_logits_give_no_more_than_top_k_gates() -> None:
    assert gates_from_logits(torch.zeros(1, 4), 1).count_nonzero() == 1
