"""Model repositories: Triton's message reads them, and their steps make the restorer's picture."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from engine_files import add_engine
from triton_ensemble import EnsembleModel, agree, inner_shape, messages, read_config

from lorair import Restorer
from lorair.exporter.graphs.quantize import quantize_router
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import Bundle, write_manifest

NAMES = {"lorair", "lorair_prepare", "lorair_router", "lorair_restorer", "lorair_finish"}


@pytest.fixture(scope="module")
def int8_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bundle` with a quantized router."""
    path = tmp_path_factory.mktemp("int8") / "bundle"
    shutil.copytree(tiny_bundle, path)
    quantize_router(path / "router.onnx")
    manifest = Bundle.open(tiny_bundle).manifest
    changes: Any = {"files": list_files(path), "router_precision": "int8"}
    write_manifest(path, manifest.model_copy(update=changes))
    return path


@pytest.mark.parametrize("fixture", ["tiny_bundle", "tiny_bundle_fp16", "int8_bundle"])
def test_the_ensemble_restores(
    fixture: str, request: Any, lorair_export: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    bundle = request.getfixturevalue(fixture)
    assert lorair_export("triton", bundle, "-o", tmp_path / "models").code == 0
    assert {folder.name for folder in (tmp_path / "models").iterdir()} == NAMES
    ensemble = EnsembleModel(tmp_path / "models", "lorair")
    restorer = Restorer.open(bundle, "onnxruntime")
    for picture in (photo[:70, :90], photo[:64, 100:148], photo[3:4, :50]):
        picture = np.ascontiguousarray(picture)
        found = ensemble.run({"image": picture})
        wanted = restorer.restore(picture)
        # The restorer's graph has its gates bound: merged weights differ in a last bit, which
        # float16 makes 2000 times as large.
        difference = abs(found["restored"].astype(int) - wanted.image)
        assert difference.max() <= 1
        assert (difference > 0).mean() < (2e-3 if fixture == "tiny_bundle_fp16" else 1e-3)
        assert found["is_finite"].all()
        for name in ("logits", "gates", "prior"):
            np.testing.assert_array_equal(found[name][0], getattr(wanted.route, name))


def test_clients_can_ask_what_it_is(
    tiny_bundle: Path, lorair_export: Command, tmp_path: Path
) -> None:
    lorair_export("triton", tiny_bundle, "-o", tmp_path, "--name", "rain.v2")
    config = read_config(tmp_path / "rain.v2")
    assert config.parameters["classes"].string_value == "snow,rain,raindrop"
    digest = Bundle.open(tiny_bundle).manifest.digest
    assert config.parameters["bundle"].string_value == digest
    assert digest in (tmp_path / "rain.v2" / "README.md").read_text()


def test_other_models_stay(tiny_bundle: Path, lorair_export: Command, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "lorair_router").mkdir()
    (tmp_path / "lorair_router" / "old").touch()
    refused = lorair_export("triton", tiny_bundle, "-o", tmp_path)
    assert refused.code == 2
    assert "lorair_router: wanted a free place, found a folder" in refused.error
    assert "--force" in refused.error
    assert {f.name for f in tmp_path.iterdir()} == {"theirs", "lorair_router"}
    assert lorair_export("triton", tiny_bundle, "-o", tmp_path, "--force").code == 0
    assert {f.name for f in tmp_path.iterdir()} == {"theirs", *NAMES}
    assert not (tmp_path / "lorair_router" / "old").exists()


def test_nothing_is_left_of_a_failure(
    tiny_bundle: Path, lorair_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lorair_export("triton", tiny_bundle, "-o", tmp_path)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")}

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    failed = lorair_export("triton", tiny_bundle, "-o", tmp_path, "--force")
    assert failed.code == 2
    assert "No space left on device" in failed.error
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backend", "openvino"), "wanted onnxruntime or tensorrt, found openvino"),
        (("--name", "../up"), "--name: wanted letters"),
        (("--backend", "tensorrt"), "one TensorRT engine of the router"),
    ],
)
def test_mistakes(
    options: tuple[str, ...], words: str, tiny_bundle: Path, lorair_export: Command, tmp_path: Path
) -> None:
    found = lorair_export("triton", tiny_bundle, "-o", tmp_path / "models", *options)
    assert found.code == 2
    assert words in found.error
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


def test_engines(bundle: Bundle, lorair_export: Command, tmp_path: Path) -> None:
    engines = {b: add_engine(bundle, b, flavour="tensorrt") for b in ("router", "restorer")}
    add_engine(bundle, "router")  # TensorRT-RTX's, which Triton has no backend for
    add_engine(bundle, "router", flavour="tensorrt", kernels="0" * 64)  # with plugins
    add_engine(bundle, "restorer", flavour="tensorrt", gates=(1.0, 0.0, 0.0))  # one expert's
    command = ("triton", bundle.path, "-o", tmp_path / "models", "--backend", "tensorrt")
    assert lorair_export(*command).code == 0
    for branch, engine in engines.items():
        folder = tmp_path / "models" / f"lorair_{branch}"
        assert (folder / "1" / "model.plan").read_bytes() == engine.read_bytes()
        config = read_config(folder)
        assert config.backend == "tensorrt"
        assert config.instance_group[0].kind == messages().ModelInstanceGroup.KIND_GPU
    gates = next(t for t in config.input if t.name == "gates")
    assert inner_shape(gates) == [3]
    assert agree(list(gates.dims), [1, 3])
    add_engine(bundle, "router", flavour="tensorrt", version="10.4")
    several = lorair_export(*command, "--force")
    assert several.code == 2
    assert "move the others out" in several.error
