import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lorair.runtime.gpu.resampling import PRECISION_BITS, bicubic_table

DevicePicture = npt.NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> DevicePicture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def resize_rows(pixels: DevicePicture, new_width: int) -> DevicePicture:
    first, counts, coefficients = bicubic_table(pixels.shape[1], new_width)
    out = np.empty((len(pixels), new_width, 3), np.uint8)
    for x in range(new_width):
        total = np.full((len(pixels), 3), 1 << (PRECISION_BITS - 1), np.int64)
        for tap in range(counts[x]):
            total += pixels[:, first[x] + tap].astype(np.int64) * coefficients[tap, x]
        out[:, x] = (total >> PRECISION_BITS).clip(0, 255)
    return out


def resize(pixels: DevicePicture, new_height: int, new_width: int) -> DevicePicture:
    resized = resize_rows(pixels, new_width)
    return resize_rows(resized.swapaxes(0, 1), new_height).swapaxes(0, 1)


def pillow(pixels: DevicePicture, new_height: int, new_width: int) -> DevicePicture:
    """Width first; left to itself, Pillow takes the height first for some tall pictures."""
    widened = Image.fromarray(pixels).resize((new_width, len(pixels)), Image.Resampling.BICUBIC)
    return np.asarray(widened.resize((new_width, new_height), Image.Resampling.BICUBIC))


side = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(st.tuples(side, side), st.tuples(side, side), st.integers(0, 2**31))
@example((1, 1), (5, 7), 0)
@example((7, 700), (11, 3), 0)
@example((13, 13), (13, 13), 0)
def test_equals_pillow_to_the_bit(size: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    pixels = noise(*size, seed)
    np.testing.assert_array_equal(resize(pixels, *new), pillow(pixels, *new))


def test_equals_pillow_on_a_photograph(photo: DevicePicture) -> None:
    for new in ((112, 112), (336, 336), (30, 400)):
        np.testing.assert_array_equal(resize(photo, *new), pillow(photo, *new))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 700))
def test_inputs_are_in_the_picture_and_sums_in_32_bits(source: int, target: int) -> None:
    first, counts, coefficients = bicubic_table(source, target)
    assert {a.dtype for a in (first, counts, coefficients)} == {np.dtype(np.int32)}
    assert coefficients.shape == (counts.max(), target)
    assert first.min() >= 0
    assert counts.min() >= 1
    assert (first + counts).max() <= source
    assert not coefficients[np.arange(len(coefficients))[:, None] >= counts].any()
    highest = coefficients.clip(min=0).sum(axis=0, dtype=np.int64).max()
    assert highest < 1.3 * 2**PRECISION_BITS
    assert 255 * highest + (1 << (PRECISION_BITS - 1)) < 2**31


def test_the_shared_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        bicubic_table(5, 3).coefficients[0, 0] = 1
