import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from lorair.runtime.pixels import MEAN, STD, from_planes, make_views, to_planes


def denormalised(views: np.ndarray) -> np.ndarray:
    """(1, 5, 3, S, S) -> (5, S, S, 3) in 0..255."""
    return ((views[0].transpose(0, 2, 3, 1) * STD + MEAN) * 255).astype(np.float64)


@pytest.mark.parametrize("size", [(200, 300), (31, 47), (7, 150), (1, 2), (112, 112)])
def test_views_against_an_independent_bicubic(size: tuple[int, int], photo: np.ndarray) -> None:
    side = 28
    picture = np.ascontiguousarray(photo[: size[0], : size[1]])
    found = denormalised(make_views(picture, side))
    double = reference.bicubic(picture, 2 * side)
    quarters = [double[y : y + side, x : x + side] for y in (0, side) for x in (0, side)]
    wanted = np.stack([reference.bicubic(picture, side), *quarters])
    # Pillow's coefficients have 22 bits: a value at .5 may round the other way.
    assert abs(found - wanted).max() < 1.01
    assert (abs(found - wanted) < 0.01).mean() > 0.99


def test_shape_type_and_order() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20, 20:, 0] = 255  # red, above right
    views = make_views(picture, 14)
    assert views.shape == (1, 5, 3, 14, 14)
    assert views.dtype == np.float32
    assert views.flags.c_contiguous
    red = denormalised(views)[:, 7, 7, 0].round()
    assert red[1:].tolist() == [0, 255, 0, 0]


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 4, 16]))
def test_planes_and_back(height: int, width: int, stride: int) -> None:
    image = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3), "u1")
    planes = to_planes(image, stride)
    assert planes.shape[2] % stride == planes.shape[3] % stride == 0
    assert planes.shape[2] - height < stride
    assert not planes[:, :, height:].any()
    assert not planes[:, :, :, width:].any()
    np.testing.assert_array_equal(from_planes(planes, (height, width), image.dtype), image)


def test_rounding_is_half_to_even_and_clamped() -> None:
    values = np.array([-1, 0.5, 1.5, 2.5, 254.5, 300], np.float32) / np.float32(255)
    planes = np.repeat(values[None, None, None], 3, axis=1)
    found = from_planes(planes, (1, 6), np.dtype(np.uint8))[0, :, 0]
    assert found.tolist() == np.rint(values.clip(0, 1) * np.float32(255)).tolist()
    assert found[[0, -1]].tolist() == [0, 255]
