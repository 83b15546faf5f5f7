"""The walk on cuda-core over a driver without a GPU: its pictures, its graphs, its memory.

Planted once each in `runtime/gpu`, and found here (the driver's part: `test_driver.py`):

- an allocation in a capture, in `Plan._look`: there is no second graph;
- copies in a stream of their own, with no event before the graph: other pixels, and the driver
  says that nothing orders them; the same for one upload that the graph should have;
- memory that is freed while a graph holds it, `Scratch.close` without its count: the driver says
  what used it, and the context is lost;
- arguments in another order, all in the launcher and two in `PictureKernels`: a kernel reads
  beyond the end of its buffer;
- kernels in another stream, and in the legacy stream: other pixels;
- gates, and a result, that are read before they are there: other gates, other pixels;
- garbage with pinned memory that is collected in a capture: there is no graph;
- a block that is not given back: the count of what is there grows;
- no event after the stream that an array names, and a frame that is not cleared: other pixels.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_driver import OUT_OF_MEMORY, OUT_OF_RESOURCES, SessionBranch, write_kernels
from driver_walk import OnTheCpu, Walks

from lorair import Restorer, Route
from lorair.runtime.backends.gpu import GpuBackend
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.errors import InternalError, LorairError, OutOfMemoryError
from lorair.runtime.gpu.cuda import Gpu, Memory

ROOT = Path(__file__).parents[3]


@pytest.fixture
def crop(photo: np.ndarray) -> Callable[[int, int], np.ndarray]:
    return lambda height, width: np.ascontiguousarray(photo[:height, :width])


def test_pictures_of_one_padded_size_share_a_graph(made: Walks, crop: Any) -> None:
    walk = made.walk()
    # The first warms up, the second is captured, the others launch the two graphs.
    for count, size in enumerate([(41, 60), (48, 64), (33, 49), (35, 64), (48, 51)]):
        found = made.check(walk, crop(*size))
        _, route = made.wanted(crop(*size))
        assert found.pixels.shape == (*size, 3)
        for name in ("logits", "prior", "gates"):
            np.testing.assert_array_equal(getattr(found.route, name), getattr(route, name))
        assert found.is_finite
        assert made.driver.launches == 2 * count
    assert made.driver.captures == 2
    assert made.sizes == [(48, 64)]


def test_with_the_real_kernels(made: Walks, crop: Any) -> None:
    """In Triton's interpreter; NumPy stands for them elsewhere."""
    made.driver.interpret = True
    made.check(made.walk(), crop(20, 32))


def test_a_given_route_skips_the_router(made: Walks, crop: Any) -> None:
    walk, pixels = made.walk(), crop(20, 30)
    model = made.bundle.manifest.model
    routed = walk.restore(pixels).route
    gates = np.array([0.2, 0.0, 0.8], np.float32)
    given = Route(routed.logits, gates, routed.prior[::-1].copy(), model.classes)
    for _ in range(3):
        assert made.check(walk, pixels, given).route is given
    assert made.driver.captures == 1
    # Each way has a graph of its own, and neither leaves anything behind for the other.
    for _ in range(3):
        made.check(walk, pixels)
    assert made.driver.captures == 3
    made.check(walk, pixels, given)


def test_a_network_that_allocates_is_never_captured(made: Walks, crop: Any) -> None:
    walk = made.walk(capturable=False)
    for _ in range(3):
        made.check(walk, crop(16, 16))
    assert made.driver.captures == 0


@pytest.mark.parametrize("fault", ["legacy stream", "capture fails"])
def test_what_cannot_be_captured_runs_as_it_is(
    fault: str, made: Walks, crop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def fail(work: object) -> None:
        tried.append(work)
        raise InternalError("capturing a graph failed")

    monkeypatch.setattr(made.gpu, "capture", fail)
    if fault == "legacy stream":
        monkeypatch.setattr(Gpu, "can_capture", False)
    walk, pixels = made.walk(), crop(16, 16)
    wanted, _ = made.wanted(pixels)
    for _ in range(4):
        np.testing.assert_array_equal(walk.restore(pixels).pixels, wanted)
    assert len(tried) == (0 if fault == "legacy stream" else 2), "each step once"


def test_a_graph_does_not_outlive_the_place_that_it_computes_in(made: Walks, crop: Any) -> None:
    walk, pixels = made.walk(), crop(16, 16)
    wanted, _ = made.wanted(pixels)
    for i in range(4):
        if i == 2:
            made.scratch.reserve(SessionBranch.WORKSPACE + 1)
        np.testing.assert_array_equal(walk.restore(pixels).pixels, wanted)
    assert made.driver.captures == 4


def test_the_least_recently_used_plan_goes(made: Walks, crop: Any) -> None:
    one = made.walk()
    one.restore(crop(16, 16))  # brings the router
    before = made.driver.used
    one.restore(crop(48, 64))
    walk = made.walk(budget=2 * (made.driver.used - before) + SessionBranch.size)
    for size in [(48, 64), (32, 64), (48, 64), (48, 48)]:
        walk.restore(crop(*size))
    assert made.sizes == [(48, 64), (48, 48)]
    walk.restore(crop(90, 128))  # alone beyond the budget
    assert made.sizes == [(96, 128)]
    made.check(walk, crop(48, 64))


def test_a_full_gpu(made: Walks, crop: Any) -> None:
    walk = made.walk()
    walk.restore(crop(48, 64))
    small = made.driver.used
    made.driver.memory = small + 100_000
    # A larger picture drops what is there and then fits.
    walk.restore(crop(64, 64))
    assert made.sizes == [(64, 64)]
    held = made.driver.used
    with pytest.raises(OutOfMemoryError):
        walk.restore(crop(190, 290))
    assert made.sizes == []
    assert made.driver.used < held
    left = made.driver.used
    with pytest.raises(OutOfMemoryError):
        walk.restore(crop(190, 290))
    assert made.driver.used == left, "a plan that could not be made holds nothing"
    made.check(walk, crop(48, 64))


FAILING = (
    "cuMemAllocFromPoolAsync", "cuMemAllocHost", "cuMemcpyAsync", "cuMemsetD8Async",
    "cuLaunchKernelEx", "cuStreamSynchronize", "cuStreamBeginCapture",
    "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphUpload", "cuGraphLaunch",
)  # fmt: skip
"""All that a walk asks of the driver, but for giving back."""


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("call", FAILING)
def test_a_call_that_fails(call: str, made: Walks, crop: Any) -> None:
    """Its first and last call in three pictures, the second captured, the third replayed.

    An error says what failed, or the picture is right all the same; the next one is, and all
    memory can be had back.
    """
    walk, pixels, driver = made.walk(), crop(16, 32), made.driver
    made.check(walk, pixels)  # brings the router
    made.held._drop(())
    empty, before = driver.counts[:3], len(driver.calls)
    wanted, *_ = (walk.restore(pixels).pixels for _ in range(3))
    count = sum(name.startswith(call) for name in driver.calls[before:])
    assert count, "no walk calls it"
    code = OUT_OF_MEMORY if "Alloc" in call else OUT_OF_RESOURCES
    words = "the GPU's memory is full" if "Alloc" in call else "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
    for nth in {1, count}:
        made.held._drop(())
        assert driver.counts[:3] == empty
        driver.fail(call, nth, code)
        errors = []
        for _ in range(4):
            try:
                np.testing.assert_array_equal(walk.restore(pixels).pixels, wanted)
            except LorairError as error:
                errors.append(error.line())
        assert driver.has_failed, f"call {nth} of {count} never came: {errors}"
        assert len(errors) <= 1
        assert all(words in error for error in errors), errors
    made.held._drop(())
    assert driver.counts[:3] == empty


def test_a_context_that_is_lost(made: Walks, crop: Any) -> None:
    """As after a kernel that failed while it ran: nothing works in this process any more."""
    walk, pixels = made.walk(), crop(16, 16)
    made.check(walk, pixels)
    made.driver.lose()
    for _ in range(2):
        with pytest.raises(InternalError, match="CUDA_ERROR_LAUNCH_FAILED"):
            walk.restore(pixels)


def test_what_is_not_finite_is_told(made: Walks, crop: Any) -> None:
    walk, pixels = made.walk(), crop(20, 20)
    route = walk.restore(pixels).route
    broken = Route(route.logits, route.gates, np.full_like(route.prior, np.nan), route.classes)
    for _ in range(3):
        assert not walk.restore(pixels, broken).is_finite
        assert walk.restore(pixels, route).is_finite


def on_device(memory: Memory, pixels: np.ndarray, **more: Any) -> Any:
    place = {"shape": pixels.shape, "typestr": "|u1", "data": (memory.address, False)}
    return SimpleNamespace(__cuda_array_interface__=place | more)


@pytest.mark.parametrize("is_given", [False, True])
def test_from_device_memory_to_device_memory(is_given: bool, made: Walks, crop: Any) -> None:
    """As PyTorch (no stream is named) and CuPy have it; captured as other pictures are."""
    walk, other = made.walk(), Gpu()
    route = walk.restore(crop(20, 20)).route if is_given else None
    captures = made.driver.captures
    for size in ((48, 64), (41, 60), (35, 49), (48, 64)):
        pixels = crop(*size)
        wanted, _ = made.wanted(pixels, route)
        source, target = (made.gpu.allocate(pixels.nbytes) for _ in range(2))
        pinned = made.gpu.allocate_pinned(pixels.nbytes)
        made.gpu.synchronize()
        pinned.host[:] = pixels.ravel()
        other.copy(source.address, pinned.address, pixels.nbytes)
        named = on_device(source, pixels, stream=other.stream, version=3)
        found = walk.restore_on_device(named, on_device(target, pixels, version=2), route)
        assert found.pixels is None
        result = made.driver.at(target.address, pixels.nbytes).reshape(pixels.shape)
        np.testing.assert_array_equal(result, wanted)
        unnamed = on_device(source, pixels)
        walk.restore_on_device(unnamed, unnamed, route)
        result = made.driver.at(source.address, pixels.nbytes).reshape(pixels.shape)
        np.testing.assert_array_equal(result, wanted, "in place")
        if route is None:
            made.check(walk, pixels)  # the two ways share a plan
    assert made.driver.captures == captures + (1 if is_given else 4)


@pytest.mark.parametrize("tile", ["off", 128])
def test_every_picture_is_the_cpu_s(tile: Any, made: Walks, bundle: Bundle, photo: Any) -> None:
    """To the bit, with the same graphs on both: 8 and 16 bits, floats, routes, sizes, tiles."""
    write_kernels(bundle.path / KERNELS)
    gpu = Restorer(bundle, GpuBackend("sessions", "two", bundle, made.gpu, made.networks()))
    cpu = Restorer(bundle, OnTheCpu(made.sessions))
    route = cpu.route(photo).with_gates(np.array([0.5, 0.2, 0.3], np.float32))
    sizes = [(130, 60)] if tile == 128 else [(41, 60), (35, 49)]
    for given, size in product((None, route), [*sizes, sizes[0]]):
        pixels = np.ascontiguousarray(photo[: size[0], : size[1]])
        for picture in (pixels, pixels.astype(np.uint16) * 257, pixels / np.float32(255)):
            wanted, found = (r.restore(picture, given, tile=tile) for r in (cpu, gpu))
            np.testing.assert_array_equal(found.image, wanted.image)
            np.testing.assert_array_equal(found.route.prior, wanted.route.prior)
            assert found.image.dtype == picture.dtype
    assert made.driver.captures > len(sizes)


def test_threads_take_turns(made: Walks, crop: Any) -> None:
    walk = made.walk()
    pictures = [crop(height, 30) for height in (17, 20, 33, 20, 40, 17)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(walk.restore, pictures))
    for pixels, walked in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(walked.pixels, made.wanted(pixels)[0])


@pytest.mark.parametrize("made", ["cuda-oldest", "pycuda"])
def test_in_a_process_with_other_packages(made: str, tiny_bundle: Path, tmp_path: Path) -> None:
    """The oldest cuda-core that is supported; a stream and arrays of PyCUDA's."""
    folder = ROOT / ".build" / made
    if not folder.is_dir():
        pytest.skip(f"there is no {made}: `make {made}`")
    script = ROOT / "tests" / "support" / "driver_walk.py"
    arguments = [sys.executable, script, tiny_bundle, tmp_path, *["pycuda"][: made == "pycuda"]]
    environment = os.environ | {"PYTHONPATH": str(folder / "lib" if made == "pycuda" else folder)}
    subprocess.run(arguments, env=environment, check=True)
