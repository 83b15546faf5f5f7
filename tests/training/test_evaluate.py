"""The default model on held-out photographs: fewer draws than the card's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weather

from lorair.runtime.restorer import Restorer
from training.degradations import CLASSES, CLEAN, WEATHER
from training.evaluate import leave_alone, restore, route, summarise
from training.pairs import Pixels, drawn, generator, pairs, pieces
from training.scenes import HELD_OUT_PHOTOS

PHOTOS = ("coffee", "rocket")


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer.open()


@pytest.fixture(scope="module")
def numbers(restorer: Restorer) -> dict[str, Any]:
    return restore(restorer, (pair for pair in pairs(1, PHOTOS[:1]) if pair[0] != CLEAN))


@pytest.mark.parametrize(("kind", "least"), [("snow", 5.0), ("rain", 4.5), ("raindrop", 1.0)])
def test_weather_is_taken_away(numbers: dict[str, Any], kind: str, least: float) -> None:
    """By its own expert: half of the pictures with drops are routed clean, see the card."""
    found = numbers[kind]
    assert found["by_expert"][kind] - found["psnr"][0] >= least
    if kind != "raindrop":
        assert found["routes"] == {kind: 1}
        assert found["ssim"][1] > found["ssim"][0]


@pytest.mark.parametrize("kind", WEATHER)
def test_the_right_expert_is_the_best(numbers: dict[str, Any], kind: str) -> None:
    by_expert = numbers[kind]["by_expert"]
    assert max(CLASSES, key=by_expert.__getitem__) == kind


def test_weather_of_another_generator_is_taken_away(restorer: Restorer) -> None:
    found = restore(
        restorer,
        (p for p in pairs(1, PHOTOS[:1], generator(Path(weather.__file__))) if p[0] != CLEAN),
    )
    for kind, least in (("snow", 4.0), ("rain", 4.5), ("raindrop", 0.5)):
        assert found[kind]["by_expert"][kind] - found[kind]["psnr"][0] >= least


def test_clean_photographs_stay(restorer: Restorer) -> None:
    found = leave_alone(restorer)
    assert set(found["photographs"]) == set(HELD_OUT_PHOTOS)
    assert found["routed_clean"] == 1
    assert found["least_psnr"] >= 60


def test_pieces_are_routed_to_their_class(restorer: Restorer) -> None:
    found = route(restorer, pieces(3, PHOTOS))
    assert found["pictures"] == 12
    assert found["right"] >= 9 / 12


def test_pairs_repeat_and_are_of_every_kind() -> None:
    first = list(pairs(seeds=2, photos=("chelsea",)))
    assert [(kind, name) for kind, name, _, _ in first] == [
        (CLEAN, "chelsea"),
        *((kind, f"chelsea_{seed}") for kind in WEATHER for seed in (0, 1)),
    ]
    for (_, _, degraded, clean), (_, _, again, _) in zip(
        first, pairs(seeds=2, photos=("chelsea",)), strict=True
    ):
        np.testing.assert_array_equal(degraded, again)
        assert degraded.shape == clean.shape
    assert not np.array_equal(first[1][2], first[2][2])
    assert "chelsea" in HELD_OUT_PHOTOS


@pytest.mark.parametrize("kind", WEATHER)
@pytest.mark.parametrize("degrade", [drawn, weather.degrade])
def test_generators_repeat_and_do_harm(kind: str, degrade: Any) -> None:
    clean: Pixels = np.random.default_rng(5).integers(60, 180, (120, 90, 3), np.uint8)
    first, again, other = (degrade(clean, kind, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == clean.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, clean)
    assert not np.array_equal(first, other)


def test_summary_of_two_pictures() -> None:
    def row(name: str, route: str, before: float, after: float) -> dict[str, Any]:
        scores = {"psnr": (before, after), "ssim": (0.5, 0.6)}
        return {"name": name, "route": route, "by_expert": dict.fromkeys(CLASSES, after), **scores}

    found = summarise([row("a", "rain", 20, 26), row("b", "snow", 22, 24)])
    assert found["psnr"] == [21, 25]
    assert found["gain"] == pytest.approx(4)
    assert (found["least_gain"], found["least_gain_of"]) == (pytest.approx(2), "b")
    assert found["routes"] == {"snow": 1, "rain": 1}
