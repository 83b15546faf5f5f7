import numpy as np
import pytest

from training import scenes


def test_held_out_photographs_are_not_trained_on() -> None:
    assert len(scenes.HELD_OUT_PHOTOS) >= 5
    assert not set(scenes.HELD_OUT_PHOTOS) & set(scenes.TRAINING_PHOTOS)


@pytest.mark.parametrize("name", scenes.TRAINING_PHOTOS + scenes.HELD_OUT_PHOTOS)
def test_photographs_are_in_the_wheel_and_8_bit_rgb(name: str) -> None:
    pixels = scenes.photograph(name)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.max() > 150


@pytest.mark.parametrize("draw", [scenes.dead_leaves, scenes.photo_crop, scenes.scene])
def test_scenes_repeat_and_are_pictures(draw: object) -> None:
    assert callable(draw)
    first, again, other = (draw(np.random.default_rng(s), 96) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1


def test_dead_leaves_scale_like_photographs() -> None:
    """Natural pictures' spectra fall with frequency to a power around -2 (power, not size)."""
    slopes = []
    for seed in range(6):
        grey = scenes.dead_leaves(np.random.default_rng(seed), 128).mean(2)
        window = np.hanning(128)[:, None] * np.hanning(128)
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
        bands = [(frequency >= low) & (frequency < 1.5 * low) for low in (0.04, 0.2)]
        low, high = (np.log(power[band].mean()) for band in bands)
        slopes.append((high - low) / np.log(0.2 / 0.04))
    assert -4.0 < np.mean(slopes) < -1.2
