"""What the host knows of GPUs, and (marked `gpu`) what only a GPU can show."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lorair import Restorer
from lorair.runtime.backends import BACKENDS
from lorair.runtime.bundle.kernels import Compiled, for_gpu, read_index
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.errors import (
    BackendError,
    InternalError,
    LorairError,
    OutOfMemoryError,
    PictureError,
)
from lorair.runtime.gpu import cuda, driver
from lorair.runtime.gpu.cuda import Gpu, device_picture
from lorair.runtime.gpu.driver import DriverInfo
from lorair.runtime.gpu.kernels import DevicePicture, PictureKernels

without_gpu = pytest.mark.skipif(driver.missing_gpu() is None, reason="there is a GPU")


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


@without_gpu
def test_without_a_gpu() -> None:
    with pytest.raises(BackendError, match="wanted an NVIDIA GPU, found"):
        Gpu()


def test_errors_of_the_driver_are_ours() -> None:
    for text, kind in (("CUDA_ERROR_OUT_OF_MEMORY", OutOfMemoryError), ("else", InternalError)):
        with pytest.raises(kind, match="the copy"), cuda._failing_as("the copy"):
            raise RuntimeError(text)


def test_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda _: SimpleNamespace(cuInit=lambda _: 100))
    assert driver.examine.__wrapped__() == "the NVIDIA driver sees no GPU"
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda _: SimpleNamespace(cuInit=lambda _: 999))
    assert "error 999" in driver.examine.__wrapped__()


@pytest.mark.parametrize(("cuda", "is_fit"), [("12.8", False), ("13.0", True), ("14.1", True)])
def test_a_driver_older_than_the_bindings(
    cuda: str, is_fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = DriverInfo(cuda, (driver.GpuInfo("a GPU", 89, 1),))
    monkeypatch.setattr(driver, "examine", lambda: found)
    monkeypatch.setattr(driver, "version", lambda _: "13.5.0")
    wanted = "it serves CUDA 12.8, the package cuda-bindings 13.5.0 needs 13.0"
    assert (driver.no_gpu() is None) == is_fit
    assert is_fit or wanted in str(driver.no_gpu())


@pytest.mark.parametrize("package", ["cuda-core", "cuda-bindings"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = package.replace("-", ".")
    monkeypatch.setattr(driver, "is_installed", lambda name: name != missing)
    assert driver.no_gpu() == f"the package {package} is not installed"


class Contexts:
    """The driver's current context, and a `Gpu` that makes its own current."""

    def __init__(self, current: int) -> None:
        self.current = current

    def __call__(self, function: str, *arguments: int) -> Any:
        if function == "cuCtxSetCurrent":
            (self.current,) = arguments
        return self.current

    def gpu(self, stream: int) -> SimpleNamespace:
        self.current = 1
        if stream == 13:
            raise InternalError("no stream")
        return SimpleNamespace(stream=stream)


@pytest.mark.parametrize(
    ("stream", "error"), [(7, "wanted PyCUDA in the GPU's primary context"), (13, "no stream")]
)
def test_pycuda_gets_its_context_back(
    stream: int, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = Contexts(5)
    monkeypatch.setattr(cuda, "_driver", contexts)
    monkeypatch.setattr(cuda, "Gpu", contexts.gpu)
    with pytest.raises(LorairError, match=error):
        cuda.from_pycuda(SimpleNamespace(handle=stream))
    assert contexts.current == 5
    contexts.current = 1
    assert cuda.from_pycuda(SimpleNamespace(handle=7)).stream == 7


def test_what_the_pool_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SimpleNamespace(reserved_mem_current=500, used_mem_current=200)
    gpu: Any = Gpu.__new__(Gpu)
    gpu._device = SimpleNamespace(memory_resource=SimpleNamespace(attributes=pool))
    monkeypatch.setattr(cuda, "_driver", lambda _: (1000, 4000))
    assert gpu.free_memory() == 1300
    real = pytest.importorskip("cuda.core").DeviceMemoryResource
    assert hasattr(real, "attributes")


@pytest.mark.parametrize(("handle", "can"), [(0, False), (1, False), (2, True), (4096, True)])
def test_the_legacy_stream_cannot_be_captured(handle: int, can: bool) -> None:
    gpu: Any = Gpu.__new__(Gpu)
    gpu._stream = SimpleNamespace(handle=handle)
    assert gpu.can_capture == can


def test_a_turn_on_the_gpu_is_one_thread_s() -> None:
    gpu: Any = Gpu.__new__(Gpu)
    current: list[int] = []
    gpu._device = SimpleNamespace(set_current=lambda: current.append(threading.get_ident()))
    gpu._lock = threading.RLock()
    with ThreadPoolExecutor(1) as other:
        with gpu.turn(), gpu.turn():
            assert set(current) == {threading.get_ident()}
            assert not other.submit(gpu._lock.acquire, blocking=False).result()
        assert other.submit(gpu._lock.acquire, blocking=False).result()


@pytest.mark.gpu
def test_memory_copies_and_graphs() -> None:
    gpu = Gpu()
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
