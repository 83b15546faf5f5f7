"""The picture's ends as graphs against the runtime's own, which have independent tests."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.testing import assert_array_equal

from lorair.exporter.triton_server.graphs import finish, prepare
from lorair.runtime.pixels import from_planes, make_views, to_planes

SIZES = [(200, 300), (31, 47), (7, 150), (150, 7), (1, 2), (28, 56), (56, 28), (3, 1200), (97, 64)]


def session(model: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("side", [28, 42])
def test_prepare_is_exact(side: int, photo: np.ndarray) -> None:
    graph = session(prepare(side, 16))
    random = np.random.default_rng(5)
    for height, width in SIZES:
        noise = random.integers(0, 256, (height, width, 3), np.uint8)
        hard = np.where(noise > 127, 255, 0).astype(np.uint8)  # overshoots both ways
        pictures = [noise, hard, np.ascontiguousarray(photo[:height, :width])]
        for picture in pictures:
            views, planes, size = graph.run(None, {"image": picture})
            assert_array_equal(views, make_views(picture, side))
            assert_array_equal(planes, to_planes(picture, 16))
            assert size.tolist() == list(picture.shape[:2])


def test_finish_is_exact() -> None:
    graph = session(finish())
    values = np.random.default_rng(5).uniform(-0.1, 1.1, (1, 3, 48, 32)).astype(np.float32)
    values[0, 0, 0, :8] = (np.arange(8) + np.float32(0.5)) / np.float32(255)  # ties
    restored, is_finite = graph.run(None, {"planes": values, "size": np.array([41, 30])})
    assert_array_equal(restored, from_planes(values, (41, 30), np.dtype(np.uint8)))
    assert is_finite.tolist() == [True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finish_names_what_is_no_picture(bad: float) -> None:
    values = np.zeros((1, 3, 16, 16), np.float32)
    values[0, 2, 15, 15] = bad  # also in the padding, as the runtime does
    _, is_finite = session(finish()).run(None, {"planes": values, "size": np.array([5, 5])})
    assert is_finite.tolist() == [False]
