"""Tiles: the geometry alone, with stub networks, then with the default model."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import LIMIT
from stub_backend import ROUTE, Stub, restorer_of

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.model.restoration import NAFBlock
from lorair.runtime.backends import Backend, select
from lorair.runtime.backends.graphs import run_failure
from lorair.runtime.backends.tiles import TileInputs
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import InternalError, OptionError, OutOfMemoryError
from lorair.runtime.pixels import Pixels, to_planes
from lorair.runtime.tiles import (
    AUTO_TILES,
    BLEND,
    MIN_TILE,
    OVERLAP,
    first_tile,
    join_columns,
    join_rows,
    parse_tile,
    ramp,
    spans,
)

STRIDES = st.sampled_from([1, 2, 4, 8, 16, 32, 64])


@given(st.integers(1, 700), st.integers(MIN_TILE, 900), STRIDES)
def test_spans_cover_a_side_and_lie_on_the_grid(count: int, tile: int, stride: int) -> None:
    length = count * stride
    found = spans(length, tile, stride)
    assert [s.first for s in found] == [0, *(s.last for s in found[:-1])]
    assert found[-1].last == found[-1].stop == length
    for span in found:
        assert not any(n % stride for n in (span.start, span.stop, span.first, span.last))
        assert 0 <= span.start <= span.first < span.last <= span.stop
        assert span.stop - span.start <= max(tile, 2 * OVERLAP, 4 * stride)
    for a, b in pairwise(found):
        assert a.stop - b.start >= OVERLAP
        # What is blended lies inside both tiles, and a quarter of the overlap from their edges.
        assert b.first - b.start >= OVERLAP // 4 + BLEND // 2
        assert a.stop - a.last >= OVERLAP // 4 + BLEND // 2
        assert b.last - b.first >= BLEND or b.last == length


def test_weights_sum_to_one_and_rise() -> None:
    weights = ramp()
    assert (weights + (1 - weights) == 1).all()
    assert (np.diff(weights) > 0).all()
    np.testing.assert_allclose(weights + weights[::-1], 1, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(MIN_TILE, 300))
def test_joined_tiles_are_weighted_sums(rows: int, columns: int, tile: int) -> None:
    """Each tile a constant: the result is the sum of tiles by the product of two weights."""
    height, width = 16 * rows, 16 * columns
    ys, xs = spans(height, tile, 16), spans(width, tile, 16)
    values = np.random.default_rng(rows * 41 + columns).random((len(ys), len(xs)))

    def strips() -> Any:
        for y, row in zip(ys, values, strict=True):
            strip = np.full((3, y.stop - y.start, width), np.nan, np.float32)
            for x, value in zip(xs, row, strict=True):
                full = np.full((3, y.stop - y.start, x.stop - x.start), value, np.float32)
                join_columns(strip, full, x, ramp())
            yield y, strip

    bands = list(join_rows(strips(), height))
    assert [top for top, _ in bands] == list(np.cumsum([0, *(b.shape[1] for _, b in bands)])[:-1])
    found = np.concatenate([band.copy() for _, band in bands], axis=1)
    wanted = np.einsum("iy,jx,ij->yx", _weights(ys, height), _weights(xs, width), values)
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-6)


def _weights(found: Any, length: int) -> np.ndarray:
    """By the definition: a raised cosine around each seam."""
    at = np.arange(length) + 0.5

    def rise(seam: int) -> np.ndarray:
        return np.sin(np.pi / 2 * np.clip((at - seam) / BLEND + 0.5, 0, 1)) ** 2

    rises = [np.ones(length), *(rise(s.first) for s in found[1:]), np.zeros(length)]
    return np.stack([a - b for a, b in pairwise(rises)])


def noise(height: int, width: int, dtype: Any = np.uint8) -> Pixels:
    picture = np.random.default_rng(height * 999 + width).integers(0, 256, (height, width, 3))
    return (picture / 255).astype(dtype) if dtype == np.float32 else picture.astype(dtype)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 420), st.integers(1, 420), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_an_identity_gives_the_picture_back(height: int, width: int, dtype: Any) -> None:
    picture = noise(height, width, dtype)
    restored = restorer_of(Stub(lambda x: x)).restore(picture, ROUTE, tile=MIN_TILE)
    np.testing.assert_array_equal(restored.image, picture)
    assert (restored.tile is None) == (-(-max(height, width) // 16) * 16 <= MIN_TILE)


def blur(image: np.ndarray) -> np.ndarray:
    """A mean of 15 by 15, zeros outside: less than a quarter of the overlap to each side."""
    padded = np.pad(image, ((0, 0), (0, 0), (7, 7), (7, 7)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (15, 15), (2, 3))
    return np.asarray(windows.mean((4, 5)), np.float32)


def test_a_local_network_gives_the_untiled_result() -> None:
    picture = noise(333, 290)
    restorer = restorer_of(Stub(blur))
    whole = restorer.restore(picture, ROUTE, tile="off")
    tiled = restorer.restore(picture, ROUTE, tile=MIN_TILE)
    np.testing.assert_array_equal(tiled.image, whole.image)
    assert (whole.image != picture).any()


def test_a_ramp_shows_no_seam() -> None:
    """Every tile its own error of up to two levels: what blending makes of it."""
    across = np.linspace(0.2, 0.8, 400, dtype=np.float32)
    picture = np.repeat(np.broadcast_to(across, (160, 400))[..., None], 3, axis=2).copy()
    drift = iter(np.tile([0.004, -0.004], 50).astype(np.float32))
    restored = restorer_of(Stub(lambda x: x + next(drift))).restore(picture, ROUTE, tile=MIN_TILE)
    error = restored.image - picture
    assert error.max() - error.min() > 0.007, "the tiles do differ"
    for axis in (0, 1):
        assert np.abs(np.diff(error, axis=axis)).max() < 1 / 255


def test_out_of_memory_halves_the_tile() -> None:
    stub = Stub(lambda x: x, limit=200 * 200)
    picture = noise(500, 600)
    restored = restorer_of(stub).restore(picture, ROUTE)
    np.testing.assert_array_equal(restored.image, picture)
    assert stub.sizes[:3] == [(512, 608), (288, 288), (144, 144)]
    assert restored.tile == 150
    for tile in ("off", MIN_TILE):
        with pytest.raises(OutOfMemoryError):
            restorer_of(Stub(lambda x: x, limit=0)).restore(picture, ROUTE, tile=tile)


def test_auto_goes_by_memory_and_by_the_largest_engine() -> None:
    stub, model = Stub(lambda x: x), SimpleNamespace(stride=16, width=64)

    def side(height: int, width: int) -> int | None:
        return first_tile("auto", (height, width), model, stub)  # type: ignore[arg-type]

    assert side(9000, 9000) is None, "no limit is known"
    stub.memory = 16 * 2**30  # half of it for a run, 5 kB a pixel: 1.7 megapixels
    assert side(1000, 1600) is None
    large, small = AUTO_TILES
    assert side(1300, 1600) == small
    stub.memory *= 2
    assert side(3000, 4000) == large
    stub.memory = 2**30
    assert MIN_TILE < (side(1300, 1600) or 0) < small
    stub.memory, stub.largest = None, (512, 768)
    assert side(512, 768) is None
    assert side(513, 768) == 512
    assert first_tile("off", (9000, 9000), model, stub) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "megapixels"), [("onnxruntime", 0.699), ("openvino", 0.559)])
def test_auto_knows_what_a_run_takes(
    name: str, megapixels: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, model = select(name, Bundle.open("default")), Bundle.open("default").manifest.model
    monkeypatch.setattr(backend, "free_memory", lambda: 2**30)
    for share, fits in ((0.98, True), (1.02, False)):
        size = (512, int(share * megapixels * 1e6 / 512) // 16 * 16)
        assert (first_tile("auto", size, model, backend) is None) == fits


def test_progress_counts_every_tile() -> None:
    said: list[tuple[float, str]] = []
    restorer_of(Stub(lambda x: x)).restore(
        noise(300, 200), ROUTE, tile=MIN_TILE, progress=lambda *what: said.append(what)
    )
    assert [done for done, _ in said] == pytest.approx([(i + 1) / len(said) for i in range(12)])
    assert said[-1][1] == "restoring, tile 12 of 12"


def test_nan_in_a_tile_is_an_error() -> None:
    restorer = restorer_of(Stub(lambda x: x * np.float32(np.nan)))
    with pytest.raises(InternalError, match="found NaN"):
        restorer.restore(noise(200, 200), ROUTE, tile=MIN_TILE)


def test_what_is_a_tile() -> None:
    assert [parse_tile(text) for text in ("auto", "off", "512")] == ["auto", "off", 512]
    for text in ("", "fast", "0", "-5", "64", "1.5"):
        with pytest.raises(OptionError, match=f"--tile: wanted auto, off, .* found {text}"):
            parse_tile(text)


def test_libraries_words_for_memory() -> None:
    for words in ("std::bad_alloc", "Failed to allocate memory for requested buffer of size 2684"):
        assert isinstance(run_failure("a", "b", RuntimeError(words)), OutOfMemoryError)
    assert isinstance(run_failure("a", "b", MemoryError()), OutOfMemoryError)
    assert type(run_failure("a", "b", RuntimeError("bad shape"))) is InternalError


def test_memory_does_not_grow_with_the_picture() -> None:
    """36 megapixels, with an identity: the picture, the result, and a row of tiles."""
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        from stub_backend import ROUTE, Stub, restorer_of
        from lorair.runtime.system.machine import peak_memory
        picture = np.full((6000, 6000, 3), 7, np.uint8)
        before = peak_memory()
        restored = restorer_of(Stub(lambda x: x)).restore(picture, ROUTE, tile=512)
        assert (restored.image[::100] == 7).all()
        print((peak_memory() - before) / picture.nbytes)
    """
    support = str(Path(__file__).parents[1] / "support")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), support],
        capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.8, "the result is 1, a row of tiles 0.35"


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest, tiny_bundle: Path) -> Backend:
    return select(request.param, Bundle.open(tiny_bundle))


@pytest.fixture(scope="module")
def whole(photo: np.ndarray) -> TileInputs:
    """A photograph of 96x128, all of it its own."""
    prior = np.random.default_rng(0).standard_normal((1, 384), np.float32)
    gates = np.array([0.2, 0.8, 0], np.float32)
    return TileInputs(to_planes(photo[:96, :128], 16), prior, gates, (0, 0), (96, 128))


def test_pooled_means_are_pytorchs(backend: Backend, whole: TileInputs, tiny_pair: Pair) -> None:
    _, net = tiny_pair.modules()
    wanted: list[np.ndarray] = []
    for module in net.modules():
        if isinstance(module, NAFBlock):
            module.sca["1"].register_forward_pre_hook(lambda _, args: wanted.append(args[0]))
    with torch.inference_mode():
        net(*map(torch.from_numpy, (whole.image, whole.prior, whole.gates)))
    restored, pooled = backend.restore_tile(whole, None)
    np.testing.assert_allclose(pooled, np.concatenate(wanted, axis=1), atol=1e-5)
    untiled = backend.restore(whole.image, whole.prior, whole.gates)
    np.testing.assert_allclose(restored, untiled, atol=1e-5)


def test_given_means_are_used(backend: Backend, whole: TileInputs) -> None:
    restored, pooled = backend.restore_tile(whole, None)
    again, _ = backend.restore_tile(whole, pooled)
    np.testing.assert_allclose(again, restored, atol=1e-6)
    other, _ = backend.restore_tile(whole, pooled + 1)
    assert np.abs(other - restored).max() > 1e-3


def test_means_of_parts_make_those_of_the_whole(backend: Backend, whole: TileInputs) -> None:
    _, pooled = backend.restore_tile(whole, None)
    total = np.zeros_like(pooled)
    for top, bottom in ((0, 32), (32, 96)):
        for left, right in ((0, 16), (16, 128)):
            part = replace(whole, own_start=(top, left), own_end=(bottom, right))
            total += backend.restore_tile(part, pooled)[1] * part.own_pixels
    np.testing.assert_allclose(total / (96 * 128), pooled, atol=1e-5)
