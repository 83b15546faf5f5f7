"""Fixtures that several folders use. What is slow to make is made once a session."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import own_cores  # noqa: F401  (before what starts threads)

# isort: split
import exports
import numpy as np
import numpy.typing as npt
import pytest
from command import Command, make_command
from cuda_driver import driver  # noqa: F401
from device import device  # noqa: F401
from PIL import Image
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401
from workers import pytest_sessionfinish, pytest_testnodedown  # noqa: F401

from lorair.exporter import build, photos
from lorair.exporter.build import build_bundle
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.checkpoint.synth import draw_pair, preset, write_pair
from lorair.exporter.graphs import onnx_export
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.bundle.manifest import Bundle, Source
from lorair.runtime.gpu.driver import missing_gpu

# Triton's kernels run in its interpreter, which must be asked before they are made; tests of
# kernels on a device run in a process of their own, with 0: `make gpu-check`.
os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` say why they are skipped."""
    if reason := missing_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled graphs go to a folder of the test run's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORAIR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Bundles are built of graphs that are exported once; pytest-xdist's workers share them."""
    folder = exports.shared_folder(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        (folder / "exports").mkdir(exist_ok=True)
        for name in ("export_restorer", "export_router"):
            kept = exports.kept(getattr(onnx_export, name), folder / "exports")
            for module in (onnx_export, build):
                patch.setattr(module, name, kept)
        yield


@pytest.fixture(scope="session")
def tiny_pair() -> Pair:
    """Random weights, every tensor non-zero."""
    return draw_pair(preset("tiny"), seed=1)


@pytest.fixture(scope="session")
def tiny_files(tiny_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`tiny_pair` as files: the restoration network's and the router's."""
    return write_pair(tiny_pair, tmp_path_factory.mktemp("weights"), "tiny")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 bundle of `tiny_pair`. Copy it before changing it."""
    source = Source(kind="synthetic", detail="tiny, seed 1")
    return exports.shared(tmp_path_factory, "fp32/bundle", partial(build_bundle, tiny_pair, source))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of `tiny_bundle` that may be changed and damaged."""
    return Bundle.open(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def tiny_bundle_fp16(tiny_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float16 bundle of `tiny_pair`."""
    source = Source(kind="synthetic", detail="tiny, seed 1")
    build = partial(build_bundle, tiny_pair, source, precision="fp16")
    return exports.shared(tmp_path_factory, "fp16/bundle", build)


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    """The default model's float32 bundle, which the package brings; never written to."""
    return SHIPPED_BUNDLE


@pytest.fixture(scope="session")
def photo() -> npt.NDArray[np.uint8]:
    """A real photograph, (200, 300, 3): neither side a multiple of 16."""
    with Image.open(next(p for p in photos.paths() if p.name == "coffee.jpg")) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def picture_file(photo: npt.NDArray[np.uint8], tmp_path: Path) -> Path:
    """A small PNG in a folder of its own."""
    path = tmp_path / "picture.png"
    Image.fromarray(photo[:70, :90]).save(path)
    return path


@pytest.fixture
def lorair_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_command("lorair-run", monkeypatch, capsys)


@pytest.fixture
def lorair_export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_command("lorair-export", monkeypatch, capsys)


@pytest.fixture
def lorair_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_command("lorair-bench", monkeypatch, capsys)
