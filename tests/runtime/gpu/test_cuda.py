"""What the host knows of GPUs, and (marked `gpu`) what only a GPU can show."""

import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_driver import NO_DEVICE, Driver

from lorair import Restorer
from lorair.runtime.backends import BACKENDS
from lorair.runtime.bundle.kernels import Compiled, for_gpu, read_index
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.errors import (
    BackendError,
    LorairError,
    PictureError,
)
from lorair.runtime.gpu import cuda
from lorair.runtime.gpu import driver as asked
from lorair.runtime.gpu.cuda import Gpu, device_picture
from lorair.runtime.gpu.kernels import DevicePicture, PictureKernels


def array(**changes: Any) -> SimpleNamespace:
    interface = {"shape": (4, 5, 3), "typestr": "|u1", "data": (4096, False), "version": 3}
    return SimpleNamespace(__cuda_array_interface__=interface | changes)


def test_pictures_that_are_on_the_device_already() -> None:
    assert device_picture(array()) == (4096, 4, 5)
    assert device_picture(array(strides=None)) == (4096, 4, 5)
    assert device_picture(array(strides=(15, 3, 1))) == (4096, 4, 5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), "wanted an array with __cuda_array_interface__"),
        (array(shape=(4, 5)), "wanted shape"),
        (array(shape=(4, 5, 4)), "wanted shape"),
        (array(shape=(0, 5, 3)), "wanted shape"),
        (array(typestr="<f4"), "wanted uint8, found <f4"),
        (array(strides=(30, 3, 1)), "wanted C-contiguous values"),
    ],
)
def test_what_is_no_picture_on_the_device(bad: Any, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        device_picture(bad)


def test_pictures_on_the_device_need_a_gpu_backend(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"wanted a backend on a GPU.*found onnxruntime"):
        Restorer.open(tiny_bundle, "onnxruntime").restore_on_device(array(), array())


@pytest.mark.parametrize(
    ("code", "words"),
    [(NO_DEVICE, "sees no GPU"), (803, "restart the machine"), (999, "does not start (error 999)")],
)
def test_a_driver_that_does_not_start(code: int, words: str, driver: Driver) -> None:
    driver.fail("cuInit", code=code)
    with pytest.raises(BackendError, match=f"wanted an NVIDIA GPU, found .*{re.escape(words)}"):
        Gpu()


@pytest.mark.parametrize(("served", "is_fit"), [(12080, False), (13000, True), (14010, True)])
def test_a_driver_older_than_the_bindings(served: int, is_fit: bool, driver: Driver) -> None:
    driver.is_of(served)
    wanted = f"it serves CUDA 12.8, the package cuda-bindings {version('cuda-bindings')} needs 13.0"
    assert (asked.no_gpu() is None) == is_fit
    assert is_fit or wanted in str(asked.no_gpu())


@pytest.mark.parametrize("package", ["cuda-core", "cuda-bindings"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = package.replace("-", ".")
    monkeypatch.setattr(asked, "is_installed", lambda name: name != missing)
    assert asked.no_gpu() == f"the package {package} is not installed"


@pytest.mark.parametrize(
    ("stream", "error"),
    [(1, "wanted PyCUDA in the GPU's primary context"), ("?", "invalid literal")],
)
def test_pycuda_gets_its_context_back(stream: Any, error: str, driver: Driver) -> None:
    own, found = ctypes.c_void_p(), ctypes.c_void_p()
    driver.library.cuCtxCreate_v2(ctypes.byref(own), 0, 0)
    with pytest.raises((LorairError, ValueError), match=error):
        cuda.from_pycuda(SimpleNamespace(handle=stream))
    driver.library.cuCtxGetCurrent(ctypes.byref(found))
    driver.library.cuCtxDestroy_v2(own)
    assert found.value == own.value


def test_pycuda_shares_the_primary_context(driver: Driver) -> None:
    theirs = Gpu()
    gpu = cuda.from_pycuda(SimpleNamespace(handle=theirs.stream))
    assert gpu.stream == theirs.stream
    assert [Gpu(handle).can_capture for handle in (0, 1, 2, gpu.stream)] == [
        False,
        False,
        True,
        True,
    ]


def test_what_the_pool_keeps_is_free(driver: Driver) -> None:
    gpu = Gpu()
    before = gpu.free_memory()
    memory = gpu.allocate(1000)
    assert gpu.free_memory() == before - 1000
    memory.close()
    assert gpu.free_memory() == before


def test_a_turn_on_the_gpu_is_one_thread_s(driver: Driver) -> None:
    gpu = Gpu()
    lock = vars(gpu)["_lock"]

    def in_turn() -> int:
        with gpu.turn(), gpu.turn():
            return gpu.free_memory()  # refused in a thread without the GPU's context

    with ThreadPoolExecutor(1) as other:
        with gpu.turn():
            assert not other.submit(lock.acquire, blocking=False).result()
        assert other.submit(in_turn).result() == gpu.free_memory()


@pytest.fixture
def any_gpu(request: pytest.FixtureRequest) -> Gpu:
    """This machine's, or the tests'."""
    if asked.missing_gpu():
        request.getfixturevalue("driver")
    return Gpu()


def test_memory_copies_and_graphs(any_gpu: Gpu) -> None:
    gpu = any_gpu
    host, device = gpu.allocate_pinned(1000), gpu.allocate(1000)

    def there_and_back() -> None:
        gpu.copy(device.address, host.address, 1000)
        gpu.clear(device.address, 10)
        gpu.copy(host.address, device.address, 1000)

    graph = gpu.capture(there_and_back)
    for value in (7, 9):
        host.host[:] = value
        graph.launch()
        gpu.synchronize()
        assert (host.host[:10] == 0).all()
        assert (host.host[10:] == value).all()
    for thing in (graph, host, device):
        thing.close()


def test_no_garbage_is_collected_in_a_capture(driver: Driver) -> None:
    """It may own memory of another GPU object, whose end would spoil the capture."""
    gpu, dropped, thresholds = Gpu(), [Gpu().allocate_pinned(10)], gc.get_threshold()
    dropped.append(dropped)  # type: ignore[arg-type]
    pinned = driver.counts.pinned
    del dropped

    def work() -> None:
        gc.set_threshold(1)  # at each new object
        assert len([[number] for number in range(100)]) == 100
        gc.set_threshold(*thresholds)

    gpu.capture(work).close()
    gc.collect()
    assert driver.counts.pinned == pinned - 1


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Compiled]]:
    """The picture ends, compiled for this GPU in a process without the interpreter."""
    folder = tmp_path_factory.mktemp("kernels")
    sm = Gpu().info.sm
    script = f"""
from pathlib import Path
from lorair.kernels.aot import compile_variant, write_index
from lorair.kernels.variants import variants
folder = Path({str(folder)!r})
ends = [v for v in variants(3, 16, "fp32") if v.name.endswith("_fp32") or v.name == "resize_rows"]
write_index(folder, [compile_variant(v, {sm}, "cubin", folder) for v in ends])
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    return folder, for_gpu(read_index(folder), sm)


@pytest.mark.gpu
def test_compiled_picture_ends_are_bit_equal(
    kernels: tuple[Path, dict[str, Compiled]], photo: np.ndarray
) -> None:
    """Launched by cuda-core, without Triton: up, unpack, pack, down gives the picture back."""
    folder, found = kernels
    gpu = Gpu()
    ends = PictureKernels(gpu, gpu.launcher(folder), found)
    height, width = photo.shape[:2]
    padded = height + -height % 16, width + -width % 16
    pixels, planes = gpu.allocate_pinned(photo.nbytes), gpu.allocate(12 * padded[0] * padded[1])
    back, bad = gpu.allocate(photo.nbytes), gpu.allocate(4)
    up = gpu.allocate(photo.nbytes)
    pixels.host[:] = photo.ravel()
    gpu.copy(up.address, pixels.address, photo.nbytes)
    ends.unpack(DevicePicture(up.address, height, width), planes.address, padded)
    ends.pack(planes.address, DevicePicture(back.address, height, width), padded, bad.address)
    pixels.host[:] = 0
    gpu.copy(pixels.address, back.address, photo.nbytes)
    gpu.synchronize()
    np.testing.assert_array_equal(pixels.host.reshape(photo.shape), photo)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["onnxruntime-cuda", "tensorrt-rtx", "tensorrt"])
def test_the_whole_walk_on_this_gpu(
    name: str, bundle: Bundle, kernels: tuple[Path, dict[str, Compiled]], photo: np.ndarray
) -> None:
    """The CPU's picture, eager, captured and launched again."""
    if lacks := BACKENDS[name].missing() or BACKENDS[name].unfit(bundle):
        pytest.skip(lacks)
    wanted = Restorer.open(bundle.path, "onnxruntime").restore(photo)
    shutil.copytree(kernels[0], bundle.path / KERNELS)
    restorer = Restorer(bundle, BACKENDS[name].open(bundle, None))
    assert restorer.backend.walk is not None
    for _ in range(3):
        found = restorer.restore(photo).image
        assert (found == wanted.image).mean() >= 0.999
        assert np.abs(found.astype(int) - wanted.image).max() <= 1
