import numpy as np
import pytest
from skimage import data

from lorair.runtime.errors import PictureError
from training.degradations import CLASSES, CLEAN, DEGRADATIONS, WEATHER, degrade
from training.degradations.fields import streak


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return data.astronaut()[100:260, 50:290].astype(np.float32) / np.float32(255)


def noise(degraded: np.ndarray, clean: np.ndarray) -> float:
    return float(np.square(degraded - clean).mean())


def test_the_order_is_that_of_the_experts() -> None:
    assert (*WEATHER, CLEAN) == CLASSES == (*DEGRADATIONS, "clean")


@pytest.mark.parametrize("kind", WEATHER)
def test_same_seed_same_weather(clean: np.ndarray, kind: str) -> None:
    before = clean.copy()
    first, again, other = (degrade(clean, kind, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(clean, before)


@pytest.mark.parametrize("kind", WEATHER)
@pytest.mark.parametrize("shape", [(64, 96), (17, 200), (33, 12)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_range_shape_and_type(kind: str, shape: tuple[int, int], value: float) -> None:
    flat = np.full((*shape, 3), value, np.float32)
    degraded = degrade(flat, kind, np.random.default_rng(3), 1.0)
    assert degraded.shape == flat.shape
    assert degraded.dtype == np.float32
    assert degraded.min() >= 0
    assert degraded.max() <= 1


@pytest.mark.parametrize("kind", WEATHER)
def test_severity_orders_the_harm(clean: np.ndarray, kind: str) -> None:
    harm = [
        np.mean(
            [noise(degrade(clean, kind, np.random.default_rng(s), level), clean) for s in range(4)]
        )
        for level in (0.05, 0.5, 1.0)
    ]
    assert harm[0] < harm[1] < harm[2]
    assert harm[0] < 0.003 < 4 * harm[2]


@pytest.mark.parametrize("kind", WEATHER)
def test_scale_makes_the_same_weather_larger(clean: np.ndarray, kind: str) -> None:
    """The harm stays, and its structure is coarser: less of it between neighbours."""

    def coarse(scale: float) -> float:
        ratios = []
        for seed in range(6):
            harm = degrade(clean, kind, np.random.default_rng(seed), 0.8, scale) - clean
            ratios.append(np.square(np.diff(harm, axis=1)).mean() / harm.var())
        return float(np.mean(ratios))

    assert coarse(2.0) < 0.9 * coarse(0.8)


def test_no_drops_is_no_change(clean: np.ndarray) -> None:
    degraded = degrade(clean, "raindrop", np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(degraded, clean, atol=1e-6)


def test_snow_and_rain_brighten_the_dark() -> None:
    black = np.zeros((96, 96, 3), np.float32)
    for kind in ("snow", "rain"):
        degraded = degrade(black, kind, np.random.default_rng(0), 0.8)
        assert degraded.mean() > 0.03
        # Daylight: nearly grey.
        assert np.ptp(degraded.mean((0, 1))) < 0.1


def test_a_streak_is_long_thin_and_turned() -> None:
    upright, lying = streak(20, 0.8, 0.0), streak(20, 0.8, np.pi / 2)
    assert upright.max() == lying.max() == 1
    assert (upright[:, upright.shape[1] // 2] > 0.3).sum() >= 19
    assert (upright[upright.shape[0] // 2] > 0.3).sum() <= 3
    np.testing.assert_allclose(upright.T, lying, atol=1e-5)


@pytest.mark.parametrize(
    "picture", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32)], ids=["type", "shape"]
)
def test_other_arrays_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(PictureError, match=r"float32 \(H, W, 3\)"):
        degrade(picture, "snow", np.random.default_rng(0))
