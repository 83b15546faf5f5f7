from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorair import Restorer, Route
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.runtime.errors import BackendError, InternalError, OptionError, PictureError
from lorair.runtime.pixels import from_planes, to_planes


@pytest.fixture(scope="module")
def restorer(tiny_bundle: Path) -> Restorer:
    return Restorer.open(tiny_bundle)


@pytest.fixture(scope="module")
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[60:121, 100:183])


def test_restored_equals_pytorch(restorer: Restorer, tiny_pair: Pair, crop: np.ndarray) -> None:
    from lorair.runtime.pixels import make_views

    restored = restorer.restore(crop)
    router, net = tiny_pair.modules()
    image = torch.from_numpy(crop.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        _, prior, gates = router(torch.from_numpy(make_views(crop, 56)))
        wanted = net.restore(image, prior, gates[0])
    wanted8 = (wanted.clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).numpy()
    assert restored.image.shape == crop.shape
    assert np.abs(restored.image.astype(int) - wanted8).max() <= 1
    assert (restored.image == wanted8).mean() > 0.999
    assert (restored.image != crop).mean() > 0.5, "a network that changes nothing tests nothing"
    assert set(restored.seconds) == {"load", "views", "router", "prepare", "restorer", "finish"}


def test_each_type_comes_back_and_means_the_same(restorer: Restorer, crop: np.ndarray) -> None:
    eight = restorer.restore(crop).image
    sixteen = restorer.restore(crop.astype(np.uint16) * 257).image
    floats = restorer.restore((crop / 255).astype(np.float32)).image
    assert (eight.dtype, sixteen.dtype, floats.dtype) == (np.uint8, np.uint16, np.float32)
    assert np.abs(sixteen / 257 - eight.astype(float)).max() <= 0.51
    assert np.abs(floats * 255 - eight.astype(float)).max() <= 0.51
    assert floats.min() >= 0
    assert floats.max() <= 1


@pytest.mark.parametrize("tile", ["auto", 64])
def test_strength_in_every_type(tile: Any, restorer: Restorer, crop: np.ndarray) -> None:
    for image in (crop, crop.astype(np.uint16) * 257, (crop / 255).astype(np.float32)):
        whole = restorer.restore(image, tile=tile).image
        half = restorer.restore(image, tile=tile, strength=0.5).image
        nothing = restorer.restore(image, tile=tile, strength=0).image
        np.testing.assert_array_equal(nothing, image)
        mean = (image.astype(np.float64) + whole) / 2
        np.testing.assert_allclose(half, mean, atol=1e-7 if image.dtype == np.float32 else 0.5)
    with pytest.raises(OptionError, match="strength"):
        restorer.restore(crop, strength=-0.1)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_without_any_expert_the_shared_network_is_left(
    backend: str, tiny_bundle: Path, tiny_pair: Pair, crop: np.ndarray
) -> None:
    opened = Restorer.open(tiny_bundle, backend)
    route = opened.route(crop)
    none = route.with_gates(np.zeros(len(route.classes), np.float32))
    restored = opened.restore(crop.astype(np.float32) / 255, none).image
    _, net = tiny_pair.modules()
    image = torch.from_numpy(crop.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        wanted = net.restore(image, torch.from_numpy(route.prior[None]), torch.zeros(3))
    np.testing.assert_allclose(restored, wanted.clamp(0, 1)[0].permute(1, 2, 0).numpy(), atol=1e-5)
    assert (none.top, none.doubts()) == ("none", ())


def test_the_router_sees_the_same_in_every_type(restorer: Restorer, crop: np.ndarray) -> None:
    wanted = restorer.route(crop).logits
    assert np.abs(wanted - restorer.route(255 - crop).logits).max() > 0.01
    for image in (crop.astype(np.uint16) * 257, (crop / 255).astype(np.float32)):
        np.testing.assert_allclose(restorer.route(image).logits, wanted, atol=1e-4)


def test_nan_is_an_error_not_a_black_picture(
    restorer: Restorer, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore(image: np.ndarray, *_: object) -> np.ndarray:
        return np.full_like(image, np.nan)

    monkeypatch.setattr(restorer.backend, "restore", restore)
    with pytest.raises(InternalError, match="wanted finite values, found NaN"):
        restorer.restore(crop)


def test_a_failing_backend_says_what_it_failed_on(restorer: Restorer) -> None:
    image = np.zeros((1, 3, 32, 16), np.float32)
    with pytest.raises(InternalError, match="failed on a picture of 16x32"):
        restorer.backend.restore(image, np.zeros((1, 7), np.float32), np.ones(3, np.float32))


def test_a_given_route_is_used_and_the_router_is_not(tiny_bundle: Path, crop: np.ndarray) -> None:
    restorer = Restorer.open(tiny_bundle)
    route = restorer.route(crop)
    same = restorer.restore(crop, route)
    np.testing.assert_array_equal(same.image, restorer.restore(crop).image)
    assert "router" not in same.seconds
    other = Route(route.logits, np.roll(route.gates, 1), route.prior, route.classes)
    assert (restorer.restore(crop, other).image != same.image).any()


def test_a_result_does_not_depend_on_what_ran_before(
    tiny_bundle: Path, crop: np.ndarray, photo: np.ndarray
) -> None:
    """The released code's pooling window is taken from a process's first picture."""
    first = Restorer.open(tiny_bundle).restore(crop).image
    restorer = Restorer.open(tiny_bundle)
    restorer.restore(photo)
    restorer.restore(photo[:16, :16])
    np.testing.assert_array_equal(restorer.restore(crop).image, first)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 70), st.integers(1, 70))
def test_any_size_keeps_its_size(
    restorer: Restorer, photo: np.ndarray, height: int, width: int
) -> None:
    if height * width < 2:
        return
    picture = np.ascontiguousarray(photo[:height, :width])
    assert restorer.restore(picture).image.shape == picture.shape


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 4, 16]))
def test_planes_and_back(height: int, width: int, stride: int) -> None:
    image = np.random.default_rng(height * 41 + width).integers(
        0, 256, (height, width, 3), np.uint8
    )
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
    exact = np.rint(values.clip(0, 1) * np.float32(255))
    assert found.tolist() == exact.tolist()
    assert found[[0, -1]].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("a path", "found str"),
        (np.zeros((4, 4), np.uint8), r"found shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"found shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float64), "wanted uint8, uint16 or float32, found float64"),
        (np.zeros((0, 4, 3), np.uint8), "at least 2 pixels"),
        (np.zeros((1, 1, 3), np.uint8), "at least 2 pixels"),
        (np.full((4, 4, 3), 2, np.float32), r"in \[0, 1\], found 2 to 2; divide"),
        (np.full((4, 4, 3), np.nan, np.float32), r"in \[0, 1\], found nan"),
    ],
)
def test_what_is_not_a_picture(image: Any, words: str, restorer: Restorer) -> None:
    for call in (restorer.restore, restorer.route):
        with pytest.raises(PictureError, match=words):
            call(image)


def test_unknown_backend_and_threads(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match="wanted auto or one of tensorrt-rtx, "):
        Restorer.open(tiny_bundle, backend="abacus")
    for threads in (0, 100_000):
        with pytest.raises(OptionError, match=f"threads: wanted 1 to 1024, found {threads}"):
            Restorer.open(tiny_bundle, threads=threads)
    restorer = Restorer.open(tiny_bundle, backend="onnxruntime", threads=1)
    assert "1 threads" in restorer.backend.description
    graph, _ = vars(restorer.backend)["_restorers"].get(np.ones(3, np.float32))
    session = vars(graph)["_session"]
    assert session.get_session_options().intra_op_num_threads == 1


def test_threads_may_share_a_restorer(tiny_bundle: Path, crop: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    restorer = Restorer.open(tiny_bundle)
    wanted = Restorer.open(tiny_bundle).restore(crop).image
    with ThreadPoolExecutor(4) as pool:
        for restored in pool.map(restorer.restore, [crop] * 8):
            np.testing.assert_array_equal(restored.image, wanted)
