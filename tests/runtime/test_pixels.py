import numpy as np
import pytest
import reference

from lorair.runtime.pixels import MEAN, STD, make_views


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
