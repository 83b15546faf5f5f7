"""`lorair-export verify`: what passes, what fails, and that the node at fault is named."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from command import Command
from PIL import Image
from planted import huge_weight, wrong_weight
from processes import console_script

from lorair.runtime.backends import BACKENDS, Backend, BackendKind, select
from lorair.runtime.bundle.manifest import Bundle, Weights, write_manifest
from lorair.runtime.pixels import Array

Files = tuple[Path, Path]

REPORT = "schema_version kind bundle precision reference passed backends ranges"
BACKEND = "name description limits passed violation pictures searches notes"
NODE = "branch position node operator largest picture factor bits"


@pytest.fixture(scope="session")
def pictures(photo: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small pictures: `a.png`, and the smaller `b.png`."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(photo[:70, :90]).save(folder / "a.png")
    Image.fromarray(photo[90:130, 100:160]).save(folder / "b.png")
    return folder


@pytest.fixture
def verify(lorair_export: Command, pictures: Path) -> Command:
    """`lorair-export verify` on these pictures."""
    return partial(lorair_export, "verify", "--images", pictures)


def test_a_correct_bundle_passes_everywhere(verify: Command, tiny_bundle: Path) -> None:
    result = verify(tiny_bundle, "--ranges", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert set(report) == {*REPORT.split()}
    assert report["passed"]
    usable = [name for name, kind in BACKENDS.items() if kind.missing() is None]
    assert [backend["name"] for backend in report["backends"]] == usable
    for backend in report["backends"]:
        assert set(backend) == {*BACKEND.split()}
        limit = "min_psnr_db" if backend["name"] == "openvino-bf16" else "max_error"
        assert limit in backend["limits"]
        assert [p["name"] for p in backend["pictures"]] == ["a.png", "b.png"]
        for picture in backend["pictures"]:
            assert picture["finite"]
            assert not picture["route_changed"]
            assert picture["prior_cosine"] > 0.99999
            assert picture["error_steps"] == picture["restored_error"] * 255
        assert backend["searches"] == []
    nodes = report["ranges"]["nodes"]
    assert set(nodes[0]) == {*NODE.split()}
    assert {node["branch"] for node in nodes} == {"router", "restorer"}


@pytest.mark.parametrize(
    ("backend", "path", "operator"),
    [
        ("openvino", "encoders.2.blocks.0.conv4", "NormLoRAMoEConvGate"),
        ("onnxruntime", "decoders.1.blocks.0.conv2", "LoRAMoEDepthwiseGate"),
    ],
)
def test_a_wrong_weight_is_found(
    backend: str, path: str, operator: str, verify: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    graph, tensor = f"restorer.{backend}.onnx", f"{path}.conv.weight"
    bundle = wrong_weight(tiny_bundle, tmp_path / "bundle", graph, tensor)
    result = verify(bundle, "--backend", backend, "--json")
    assert result.code == 1
    assert f"{backend} gives another picture (--max-error): wanted 0.0001" in result.error
    (search,) = json.loads(result.out)["backends"][0]["searches"]
    found = search["branch"], search["first"], search["picture"]
    assert found == ("restorer", f"{path}/{operator}", "b.png")
    errors = {block["name"]: block["largest_error"] for block in search["blocks"]}
    assert errors["downs.1"] < 1e-5
    assert errors[path.rpartition(".")[0]] > 1e-2


def test_an_overflow_is_found(verify: Command, tiny_bundle_fp16: Path, tmp_path: Path) -> None:
    """In what ONNX Runtime computes, and in float32 arithmetic, where it does not occur."""
    bundle = huge_weight(tiny_bundle_fp16, tmp_path / "bundle", "intro.conv.weight", 30000)
    result = verify(bundle, "--backend", "onnxruntime", "--ranges")
    assert result.code == 1
    assert "restorer, intro/LoRAMoEConv, on b.png: the first value that is not finite" in result.out
    assert "nodes leave float16's range, first restorer, intro/LoRAMoEConv" in result.out
    assert "build with --fp32" in result.out
    assert "not finite" in result.out


def test_the_table_says_what_passed(verify: Command, tiny_bundle_fp16: Path) -> None:
    result = verify(tiny_bundle_fp16, "--backend", "onnxruntime", "--bisect", "--ranges")
    assert result.code == 0, result.err
    assert "onnxruntime    passed" in result.out
    assert "restorer: no single node" in result.out
    assert "all nodes at least a factor of 4 from float16's end" in result.out
    assert "middle_blks" in result.out


class Perturbed:
    """ONNX Runtime, off by a little in one value; it shows no inner values."""

    name = description = "perturbed"

    def __init__(self, backend: Backend) -> None:
        self.route, self.load_router = backend.route, backend.load_router
        self.load_restorer, self._restore = backend.load_restorer, backend.restore

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        restored = self._restore(image, prior, gates)
        restored[0, 1, 2, 3] += 2e-3
        return restored


@pytest.fixture
def perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ModuleType("lorair.runtime.backends.perturbed")
    file.open_backend = lambda _, bundle, *rest: Perturbed(select("onnxruntime", bundle))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, file.__name__, file)
    kind = BackendKind("perturbed", "onnxruntime", "cpu", "perturbed")
    monkeypatch.setitem(BACKENDS, "perturbed", kind)


@pytest.mark.usefixtures("perturbed")
def test_a_backend_without_inner_values(verify: Command, tiny_bundle: Path) -> None:
    result = verify(tiny_bundle, "--backend", "perturbed", "--json")
    assert result.code == 1
    assert "found 0.002 on" in result.error
    (verdict,) = json.loads(result.out)["backends"]
    (note,) = verdict["notes"]
    assert note.startswith("perturbed cannot show a graph's inner values here; Polygraphy")
    assert verdict["pictures"][0]["error_steps"] == pytest.approx(0.51, abs=0.001)
    assert verify(tiny_bundle, "--backend", "perturbed", "--max-error", "0.003").code == 0
    result = verify(tiny_bundle, "--backend", "perturbed", "--json", "--no-bisect")
    assert (result.code, json.loads(result.out)["backends"][0]["notes"]) == (1, [])


def test_against_another_reference(verify: Command, tiny_bundle: Path, tiny_files: Files) -> None:
    weights = ("--ir-weights", tiny_files[0], "--router-weights", tiny_files[1])
    for against, name, more in (("openvino", "openvino", ()), ("pytorch", "PyTorch", weights)):
        result = verify(tiny_bundle, "--backend", "onnxruntime", "--against", against, *more)
        assert result.code == 0, result.err
        assert f"against {name}" in result.out


def test_without_pytorch(tiny_bundle: Path, pictures: Path) -> None:
    command = console_script("exporter", "import sys; sys.modules['torch'] = None")
    command += ["verify", tiny_bundle, "--images", pictures, "--ranges", "--backend", "onnxruntime"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backend", "cuda"), "--backend: no backend 'cuda'"),
        (("--against", "truth"), "wanted one of portable, pytorch, tensorrt-rtx"),
        (("--backend", "onnxruntime", "--against", "onnxruntime"), "wanted another backend"),
        (("--images", "{empty}"), "wanted a folder with pictures"),
        (("--images", "{empty}/none"), "wanted a folder with pictures"),
        (("--max-error", "inf"), "wanted a number"),
        (("--ir-weights", "a.pth"), "wanted both, with --against pytorch"),
        (("--against", "pytorch", "--ir-weights", "a.pth"), "found only one"),
    ],
)
def test_bad_options(
    arguments: tuple[str, ...],
    words: str,
    lorair_export: Command,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    result = lorair_export("verify", tiny_bundle, *(a.format(empty=tmp_path) for a in arguments))
    assert (result.code, result.out) == (2, "")
    assert words in result.error


def test_other_weights_are_refused(
    lorair_export: Command, tiny_files: Files, bundle: Bundle
) -> None:
    other = Weights(name="other.pth", sha256="0" * 64)
    source = bundle.manifest.source.model_copy(update={"ir": other})
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"source": source}))
    weights = ("--ir-weights", tiny_files[0], "--router-weights", tiny_files[1])
    result = lorair_export("verify", bundle.path, "--against", "pytorch", *weights)
    assert result.code == 2
    assert "wanted the weights that the bundle was built from (other.pth)" in result.error


def test_no_bundle(lorair_export: Command, bundle: Bundle) -> None:
    (bundle.path / "restorer.onnx").write_bytes(b"")
    for path, words in ((bundle.path, "damaged bundle"), (bundle.path / "none", "no bundle at")):
        result = lorair_export("verify", path)
        assert (result.code, words in result.error) == (2, True)
