"""The CUDA backend's binding, with the driver of the tests: its memory is the host's."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from cuda_driver import Driver

from lorair import Restorer
from lorair.runtime.backends import BACKENDS
from lorair.runtime.backends import onnxruntime_cuda as backend_module
from lorair.runtime.backends.onnxruntime_cuda import open_onnxruntime_cuda
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError
from lorair.runtime.gpu.cuda import Gpu


@pytest.fixture
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(backend_module, "_DEVICE", "cpu")


@pytest.fixture
def gpu(driver: Driver, on_the_host: None, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """In whose stream the CPU provider runs."""
    made, run = Gpu(), backend_module.SessionRun.enqueue

    def enqueue(bound: backend_module.SessionRun) -> None:
        driver.enqueue(made.stream, lambda: run(bound))

    monkeypatch.setattr(backend_module.SessionRun, "enqueue", enqueue)
    return made


def test_networks_read_and_write_where_they_are_told(
    gpu: Gpu, tiny_bundle: Path, photo: Any
) -> None:
    bundle = Bundle.open(tiny_bundle)
    restorer = Restorer(bundle, open_onnxruntime_cuda(bundle, gpu))
    for height in (41, 70, 41):
        pixels = np.ascontiguousarray(photo[:height, :60])
        wanted = Restorer.open(tiny_bundle, "onnxruntime").restore(pixels)
        found = restorer.restore(pixels)
        assert (found.image == wanted.image).mean() > 0.999
        np.testing.assert_allclose(found.route.prior, wanted.route.prior, atol=1e-5)


def test_it_is_never_captured(tiny_bundle: Path) -> None:
    assert not backend_module.SessionRun.capturable


def test_cuda_s_libraries_come_before_the_first_session(
    gpu: Gpu, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the session is on the GPU whose stream it gets."""
    done: list[Any] = []
    make = onnxruntime.InferenceSession

    def session(graph: Path, options: Any, providers: Any) -> Any:
        done.append(providers[0][1])
        return make(graph, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: done.append("libraries"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    gpu.ordinal = 3
    open_onnxruntime_cuda(Bundle.open(tiny_bundle), gpu).load_router()
    assert done[0] == "libraries"
    assert (done[1]["device_id"], done[1]["user_compute_stream"]) == ("3", str(gpu.stream))


def test_an_onnxruntime_without_cuda(driver: Driver, tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"wanted an onnxruntime with CUDAExecutionProvider"):
        open_onnxruntime_cuda(Bundle.open(tiny_bundle), Gpu())
    assert BACKENDS["onnxruntime-cuda"].missing() == "the package onnxruntime-gpu is not installed"
