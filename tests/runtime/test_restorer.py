from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lorair import Restorer, Route
from lorair.exporter import photos
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.runtime.errors import BackendError, InternalError, OptionError, PictureError


@pytest.fixture(scope="module")
def restorer(tiny_bundle: Path) -> Restorer:
    return Restorer.open(tiny_bundle)


@pytest.fixture(scope="module")
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[60:121, 100:183])


def test_a_picture_is_changed_in_stages_that_are_timed(restorer: Restorer, crop: Any) -> None:
    """That it is PyTorch's picture is tested of every backend."""
    restored = restorer.restore(crop)
    assert restored.image.shape == crop.shape
    assert (restored.image != crop).mean() > 0.5, "a network that changes nothing tests nothing"
    assert set(restored.seconds) == {"load", "views", "router", "prepare", "restorer", "finish"}


def test_each_type_comes_back_and_means_the_same(restorer: Restorer, crop: np.ndarray) -> None:
    eight, logits = restorer.restore(crop).image, restorer.route(crop).logits
    assert eight.dtype == np.uint8
    assert np.abs(logits - restorer.route(255 - crop).logits).max() > 0.01
    for image, scale in ((crop.astype(np.uint16) * 257, 257), ((crop / 255).astype("f4"), 1 / 255)):
        found = restorer.restore(image)
        assert found.image.dtype == image.dtype
        assert np.abs(found.image / scale - eight.astype(float)).max() <= 0.51
        np.testing.assert_allclose(found.route.logits, logits, atol=1e-4)
        assert 0 <= found.image.min() <= found.image.max() <= 255 * scale


@pytest.mark.parametrize("tile", ["auto", 64])
def test_strength_in_every_type(tile: Any, restorer: Restorer, crop: np.ndarray) -> None:
    for image in (crop, crop.astype(np.uint16) * 257, (crop / 255).astype(np.float32)):
        whole = restorer.restore(image, tile=tile).image
        half = restorer.restore(image, tile=tile, strength=0.5).image
        same = restorer.restore(image, tile=tile, strength=0)
        assert not {"restorer", "tiles"} & set(same.seconds)
        nothing = same.image
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


def test_the_network_does_not_run_where_it_would_change_nothing(
    tiny_bundle: Path, crop: np.ndarray
) -> None:
    restorer = Restorer.open(tiny_bundle)
    route, name = restorer.route(crop), restorer.bundle.manifest.model.classes[1]
    assert restorer.unchanged == (), "of random weights, none"
    restorer.unchanged = (name,)
    for image in (crop, crop.astype(np.uint16) * 257, (crop / 255).astype(np.float32)):
        same = restorer.restore(image, route.with_gates(np.eye(3)[1]), tile=64)
        assert same.seconds == {}
        assert same.image is not image
        np.testing.assert_array_equal(same.image, image)
    for gates in ([1, 0, 0], [0, 0.9, 0.1], [0, 0, 0]):
        other = restorer.restore(crop, route.with_gates(np.array(gates)))
        assert (other.image != crop).mean() > 0.5


def test_the_default_models_clean_pictures_come_out_without_a_run(default_bundle: Path) -> None:
    """And the network, if it runs, says the same to the bit."""
    restorer = Restorer.open(default_bundle)
    assert restorer.unchanged == ("clean",)
    with Image.open(next(p for p in photos.paths() if p.name == "astronaut.jpg")) as file:
        eight = np.asarray(file)[:96, :96]
    for image in (eight, eight.astype(np.uint16) * 257 + 1):
        same = restorer.restore(image, restorer.route(image).with_gates(np.eye(4)[3]))
        restorer.unchanged = ()
        run = restorer.restore(image, same.route)
        assert "restorer" in run.seconds
        np.testing.assert_array_equal(run.image, same.image)
        restorer.unchanged = ("clean",)


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


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 70), (16, 16), (17, 31), (48, 33), (70, 5)])
def test_any_size_keeps_its_size(restorer: Restorer, photo: Any, size: tuple[int, int]) -> None:
    picture = np.ascontiguousarray(photo[: size[0], : size[1]])
    assert restorer.restore(picture).image.shape == picture.shape


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("a path", "found str; restore_file takes files"),
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
    restorer = Restorer.open(tiny_bundle)
    wanted = Restorer.open(tiny_bundle).restore(crop).image
    with ThreadPoolExecutor(4) as pool:
        for restored in pool.map(restorer.restore, [crop] * 8):
            np.testing.assert_array_equal(restored.image, wanted)
