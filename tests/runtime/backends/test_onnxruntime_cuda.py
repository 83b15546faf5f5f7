"""The CUDA backend's binding, with host memory in the place of a GPU's."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from simulated_gpu import SimulatedGpu

from lorair import Restorer
from lorair.runtime.backends import BACKENDS
from lorair.runtime.backends import onnxruntime_cuda as backend_module
from lorair.runtime.backends.onnxruntime_cuda import open_onnxruntime_cuda
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError


@pytest.fixture
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(backend_module, "_DEVICE", "cpu")


@pytest.mark.usefixtures("on_the_host")
def test_networks_read_and_write_where_they_are_told(tiny_bundle: Path, photo: Any) -> None:
    bundle, gpu = Bundle.open(tiny_bundle), SimulatedGpu()
    restorer = Restorer(bundle, open_onnxruntime_cuda(bundle, gpu))
    for height in (41, 70, 41):
        pixels = np.ascontiguousarray(photo[:height, :60])
        wanted = Restorer.open(tiny_bundle, "onnxruntime").restore(pixels)
        found = restorer.restore(pixels)
        assert (found.image == wanted.image).mean() > 0.999
        np.testing.assert_allclose(found.route.prior, wanted.route.prior, atol=1e-5)


def test_it_is_never_captured(tiny_bundle: Path) -> None:
    assert not backend_module.SessionRun.capturable


@pytest.mark.usefixtures("on_the_host")
def test_cuda_s_libraries_come_before_the_first_session(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the session is on the GPU whose stream it gets."""
    done: list[Any] = []
    make = onnxruntime.InferenceSession

    def session(graph: Path, options: Any, providers: Any) -> Any:
        done.append(providers[0][1])
        return make(graph, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: done.append("libraries"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    gpu = SimulatedGpu()
    gpu.ordinal = 3
    open_onnxruntime_cuda(Bundle.open(tiny_bundle), gpu).load_router()
    assert done[0] == "libraries"
    assert (done[1]["device_id"], done[1]["user_compute_stream"]) == ("3", "7")


def test_an_onnxruntime_without_cuda(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"wanted an onnxruntime with CUDAExecutionProvider"):
        open_onnxruntime_cuda(Bundle.open(tiny_bundle), SimulatedGpu())
    assert BACKENDS["onnxruntime-cuda"].missing() == "the package onnxruntime-gpu is not installed"
