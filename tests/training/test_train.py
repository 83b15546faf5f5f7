"""The recipe's short form: the same stages, a small network, few steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lorair.exporter.checkpoint.checkpoint import Pair, load_pair
from lorair.exporter.model import RestorationNet
from training.data import CLEAN, KINDS, Scenes, draw_scenes, versions
from training.initial import grow, init_experts
from training.loop import Loop, schedule
from training.recipe import FULL, SHORT, Stage
from training.stages import psnr_loss
from training.train import train


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def trained(work: Path) -> Pair:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps this small wait for each other longer than they work
    try:
        return load_pair(*train(SHORT, 5, work, work / "out"))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def patches() -> Scenes:
    """A fixed set that the training has not seen."""
    return Scenes(np.stack([versions(np.random.default_rng([900, i]), 128) for i in range(6)]))


def mean_psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((-10 * torch.log10((a - b).square().mean((1, 2, 3)))).mean())


def test_the_short_form_improves_a_fixed_set(trained: Pair, patches: Scenes) -> None:
    router, net = trained.modules()
    before, after = [], []
    with torch.inference_mode():
        for number in range(len(patches.pixels)):
            for kind in range(1, KINDS):
                chosen = np.array([[number, kind]])
                rng = np.random.default_rng(number)
                degraded, clean = map(torch.from_numpy, patches.patches(rng, chosen, 128))
                view = patches.view(rng, number, kind, trained.config.router.side)
                _, prior, _ = router(torch.from_numpy(view))
                right = torch.eye(KINDS)[kind - 1]
                restored = net.restore(degraded, prior, right).clamp(0, 1)
                before.append(mean_psnr(degraded, clean))
                after.append(mean_psnr(restored, clean))
    assert np.mean(after) > np.mean(before)


def test_weather_has_experts_and_clean_pictures_stay_to_the_bit(
    trained: Pair, patches: Scenes
) -> None:
    _, net = trained.modules()
    for name, tensor in trained.ir.items():
        if "lora_B" in name and ".blocks." in name:
            assert all(tensor[:-1].abs().amax((1, 2)) > 0), name
    picture = torch.from_numpy(patches.pixels[0, 1]).permute(2, 0, 1)[None] / 255
    prior = torch.randn(1, trained.config.restoration.prior)
    with torch.inference_mode():
        restored = net.restore(picture, prior, torch.eye(4)[-1])
    torch.testing.assert_close(restored, picture, rtol=0, atol=0)
    assert net.unchanged(trained.config.classes) == trained.config.classes[-1:]
    net.ending.conv.bias.data[0] = 1e-6
    assert net.unchanged(trained.config.classes) == ()


def test_a_finished_training_is_not_repeated(trained: Pair, work: Path) -> None:
    again = load_pair(*train(SHORT, 5, work, work / "again"))
    for name, tensor in trained.ir.items():
        torch.testing.assert_close(again.ir[name], tensor, rtol=0, atol=0)


def test_an_interrupted_stage_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stage(name: str, stop: int | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        module = nn.Linear(4, 1)

        def loss_of(step: int) -> torch.Tensor:
            if step == stop:
                raise StoppedError
            x = torch.from_numpy(np.random.default_rng(step).normal(size=(8, 4))).float()
            loss: torch.Tensor = (module(x) - x.sum(1, keepdim=True)).square().mean()
            return loss

        parameters = list(module.parameters())
        loop = Loop("x", module, parameters, Stage(40, 8, 0.01), tmp_path / name, save_every=0)
        return loop.run(loss_of, lambda: 0.0 - len(loop.log))["weight"]

    whole = stage("whole.pt")
    with pytest.raises(StoppedError):
        stage("parts.pt", stop=17)
    torch.testing.assert_close(stage("parts.pt"), whole, rtol=0, atol=0)


def test_scenes_are_drawn_once_and_repeat(tmp_path: Path) -> None:
    first, second = list(draw_scenes(tmp_path / "a", 3, 2, 64, workers=1))
    (again, _) = draw_scenes(tmp_path / "b", 3, 2, 64, workers=1)
    pixels = np.load(first)
    assert pixels.shape == (KINDS, 64, 64, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.load(again))
    assert not np.array_equal(pixels, np.load(second))
    stamp = first.stat().st_mtime_ns
    list(draw_scenes(tmp_path / "a", 3, 2, 64, workers=1))
    assert first.stat().st_mtime_ns == stamp


def test_patches_of_a_pair_lie_on_each_other() -> None:
    ramp = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3) % 251
    pixels = np.stack([ramp.astype(np.uint8)] * KINDS)[None]
    chosen = np.array([[0, kind] for kind in range(KINDS)])
    degraded, clean = Scenes(pixels).patches(np.random.default_rng(0), chosen, 32)
    assert degraded.shape == (KINDS, 3, 32, 32)
    np.testing.assert_array_equal(degraded, clean)


def test_a_grown_network_does_what_the_smaller_one_did() -> None:
    def net(experts: int, blocks: int) -> RestorationNet:
        config = replace(SHORT.model.restoration, num_experts=experts, middle_blk_num=blocks)
        return init_experts(RestorationNet(config))

    torch.manual_seed(0)
    small, large = net(3, 1), net(4, 2)
    grow(large, small.state_dict())
    picture, prior = torch.rand(1, 3, 16, 16), torch.randn(1, 32)
    for expert in range(2):
        gates = [torch.eye(n)[expert] for n in (3, 4)]
        torch.testing.assert_close(large(picture, prior, gates[1]), small(picture, prior, gates[0]))


def test_the_best_checkpoint_is_kept(tmp_path: Path) -> None:
    module = nn.Linear(1, 1, bias=False)
    losses = iter([3.0, 1.0, 2.0])
    seen = []

    def judge() -> float:
        seen.append(module.weight.item())
        return next(losses)

    def loss_of(_: int) -> torch.Tensor:
        return module.weight.sum()

    stage, path = Stage(30, 1, 0.1), tmp_path / "x.pt"
    loop = Loop("x", module, list(module.parameters()), stage, path, judge_every=10)
    loop.run(loss_of, judge)
    assert len(seen) == 3
    assert loop.best is not None
    assert loop.best[:2] == (20, 1.0)
    assert module.weight.item() == seen[1]


def test_loss_is_minus_psnr_of_each_kind_as_one_picture() -> None:
    clean = torch.zeros(3, 3, 8, 8)
    off = torch.full_like(clean, 0.1)
    kinds = torch.tensor([1, 1, 3])
    assert psnr_loss(off, clean, kinds).item() == pytest.approx(-20, abs=0.05)
    assert psnr_loss(clean, clean, kinds).item() == pytest.approx(-40)
    half = off * torch.tensor([1.0, 0, 0])[:, None, None, None]
    wanted = (2 * 10 * np.log10(0.01 / 2 + 1e-4) + 10 * np.log10(1e-4)) / 3
    assert psnr_loss(half, clean, kinds).item() == pytest.approx(wanted, abs=1e-4)
    untouched = torch.full_like(kinds, CLEAN)
    assert psnr_loss(clean, clean, untouched).item() == pytest.approx(10 * np.log10(5e-4))


def test_learning_rate_rises_then_falls() -> None:
    rates = [schedule(step, 400) for step in range(400)]
    assert max(rates) == pytest.approx(1.0, abs=1e-6)
    assert rates[0] < 0.1
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_the_recipes_hang_together() -> None:
    for recipe in (FULL, SHORT):
        assert recipe.patch % recipe.model.restoration.stride == 0
        assert recipe.patch <= recipe.side
