"""Engines with plugins, over a stand-in for TensorRT on the driver of the tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from cuda_driver import Driver
from engine_files import add_engine, add_plugin
from fake_tensorrt import FakeTensorRT
from PIL import Image

from lorair import Restorer
from lorair.runtime.backends import select
from lorair.runtime.backends import tensorrt as backend_module
from lorair.runtime.backends.tensorrt import open_tensorrt
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError
from lorair.runtime.gpu.cuda import Gpu

KERNELS = "ab" * 32
OTHERS = "cd" * 32
MIXED = np.array([0.5, 0.5, 0], np.float32)


@pytest.fixture
def gpu(driver: Driver) -> Gpu:
    return Gpu()


@pytest.fixture
def library(driver: Driver, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    made = FakeTensorRT(driver, gpu, "10.14.1", rtx=False)
    monkeypatch.setattr(backend_module, "import_module", lambda name: made)
    return made


Add = Callable[..., Path]


@pytest.fixture
def add(gpu: Gpu) -> Add:
    """Adds an engine that fits here."""
    fitting = {"flavour": "tensorrt", "version": "10.14.1", "device": gpu.info.target}
    return lambda bundle, branch="restorer", **more: add_engine(bundle, branch, **fitting, **more)


@pytest.fixture
def bundle(bundle: Bundle, add: Add) -> Bundle:
    """With the router's engine, and one with plugins for the restorer."""
    add(bundle, "router")
    add(bundle, kernels=KERNELS)
    return bundle


def restored(bundle: Bundle, gpu: Gpu, pixels: Any) -> bool:
    """Whether a mixture is restored as on the CPU."""
    plain = Restorer(bundle, select("onnxruntime", bundle))
    route = plain.route(pixels).with_gates(MIXED)
    found = Restorer(bundle, open_tensorrt(bundle, "tensorrt", gpu)).restore(pixels, route)
    return bool((found.image == plain.restore(pixels, route).image).mean() > 0.999)


@pytest.fixture
def pixels(photo: Any) -> Any:
    return np.ascontiguousarray(photo[:41, :60])


def test_the_library_beside_the_engines_is_loaded(
    bundle: Bundle, gpu: Gpu, library: FakeTensorRT, pixels: Any, add: Add
) -> None:
    add(bundle, most=320, kernels=KERNELS)  # which needs the same
    path = add_plugin(bundle, KERNELS)
    assert restored(Bundle.open(bundle.path), gpu, pixels)
    assert [registry.loaded for registry in library.registries] == [[path]]


def test_the_library_inside_comes_first(
    bundle: Bundle, gpu: Gpu, library: FakeTensorRT, pixels: Any, add: Add
) -> None:
    add_plugin(bundle, KERNELS)
    add(bundle, kernels=KERNELS, inside=True)
    assert restored(bundle, gpu, pixels)
    assert library.registries[0].loaded == []


def test_bundles_in_a_process_keep_their_plugins_apart(
    bundle: Bundle, gpu: Gpu, library: FakeTensorRT, pixels: Any, add: Add, tmp_path: Path
) -> None:
    other = Bundle(shutil.copytree(bundle.path, tmp_path / "other"), bundle.manifest)
    shutil.rmtree(other.path / "engines")
    add(other, "router")
    add(other, kernels=OTHERS)
    paths = [add_plugin(bundle, KERNELS), add_plugin(other, OTHERS)]
    assert restored(bundle, gpu, pixels)
    assert restored(other, gpu, pixels)
    assert [registry.loaded for registry in library.registries] == [[path] for path in paths]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (None, "wanted the library and its record, found none"),
        (OTHERS, "wanted one with the kernels abababababab, found one with the kernels cdcdcd"),
    ],
)
def test_without_its_library_the_next_form_is_taken(
    there: str | None,
    words: str,
    bundle: Bundle,
    gpu: Gpu,
    library: FakeTensorRT,
    pixels: Any,
    add: Add,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if there is not None:
        add_plugin(bundle, there)
    with pytest.raises(BundleError, match=f"liblorair-trt10.so: {words}.*`lorair-export plugin"):
        restored(bundle, gpu, pixels)
    add(bundle)
    assert restored(bundle, gpu, pixels)
    (message,) = [record.message for record in caplog.records]
    assert words in message


def test_infer_with_plugins(
    bundle: Bundle,
    gpu: Gpu,
    library: FakeTensorRT,
    picture_file: Path,
    lorair_run: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_plugin(bundle, KERNELS)
    monkeypatch.setattr(backend_module, "Gpu", lambda: gpu)
    pictures = []
    for backend in ("onnxruntime", "tensorrt"):
        target = picture_file.with_name(f"{backend}.png")
        options = ("-b", bundle.path, "--backend", backend, "--gates", "snow=0.5,rain=0.5")
        result = lorair_run("infer", picture_file, "-o", target, *options)
        assert result.code == 0, result.err
        pictures.append(np.asarray(Image.open(target)))
    assert "tensorrt 10.14.1" in result.err
    assert (pictures[0] == pictures[1]).mean() > 0.999
    assert len(library.registries[0].loaded) == 1
