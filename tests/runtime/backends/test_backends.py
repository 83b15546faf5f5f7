"""Every backend gives the same picture; `auto` picks by speed and precision."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as openvino_library
import pytest
import torch
from processes import LIMIT

from lorair import Restorer, Route
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.runtime.backends import BACKENDS, choose, openvino
from lorair.runtime.backends.graphs import BoundGraphs, FirstGates
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.commands import options
from lorair.runtime.errors import BackendError, DependencyError
from lorair.runtime.pixels import make_views, to_planes

GPUS = {"tensorrt-rtx", "tensorrt", "onnxruntime-cuda", "onnxruntime-rtx", "webgpu"}
EXACT = [kind.name for kind in BACKENDS.values() if "fp32" in kind.precisions]

GATES = {"one": [0.0, 1.0, 0.0], "another": [0.0, 0.0, 1.0], "mixture": [0.5, 0.2, 0.3]}


@pytest.fixture(scope="module", params=EXACT)
def restorer(request: pytest.FixtureRequest, tiny_bundle: Path) -> Restorer:
    kind = BACKENDS[request.param]
    lacks = kind.missing() or kind.unfit(Bundle.open(tiny_bundle))
    if request.param in GPUS and lacks is not None:
        pytest.skip(lacks)
    assert lacks is None, "the dev extra brings every CPU backend"
    return Restorer.open(tiny_bundle, request.param)


@pytest.fixture(scope="module")
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[:91, :130])


@pytest.mark.parametrize("gates", GATES.values(), ids=GATES)
def test_every_backend_gives_the_same_picture(
    gates: list[float], restorer: Restorer, tiny_pair: Pair, crop: np.ndarray
) -> None:
    """The first gates are bound, the others run on the general graph."""
    routed = restorer.route(crop)
    route = Route(routed.logits, np.array(gates, np.float32), routed.prior, routed.classes)
    found = restorer.restore(crop, route).image.astype(int)
    inputs = to_planes(crop, 1), route.prior[None], route.gates
    with torch.inference_mode():
        restored = tiny_pair.modules().restorer.restore(*map(torch.from_numpy, inputs))
    wanted = (restored.clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).numpy()
    assert (found == wanted).mean() >= 0.999


def test_routes_agree(restorer: Restorer, tiny_pair: Pair, crop: np.ndarray) -> None:
    route = restorer.route(crop)
    with torch.inference_mode():
        logits, prior, gates = tiny_pair.modules()[0](torch.from_numpy(make_views(crop, 56)))
    np.testing.assert_allclose(route.logits, logits[0], atol=1e-4)
    np.testing.assert_allclose(route.prior, prior[0], atol=1e-4)
    np.testing.assert_array_equal(route.gates, gates[0])


def test_openvino_routes_without_onnxruntime(
    tiny_bundle: Path, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Restorer.open(tiny_bundle, "openvino").route(crop)
    monkeypatch.setattr(
        "lorair.runtime.backends.openvino.is_installed", lambda name: name != "onnxruntime"
    )
    restorer = Restorer.open(tiny_bundle, "openvino")
    assert "router on" not in restorer.backend.description
    np.testing.assert_allclose(restorer.route(crop).prior, wanted.prior, atol=1e-4)


def test_bfloat16_is_close_where_the_processor_has_it(tiny_bundle: Path, crop: np.ndarray) -> None:
    kind = BACKENDS["openvino-bf16"]
    if kind.missing() is not None:
        with pytest.raises(BackendError, match="the processor has no bfloat16 arithmetic"):
            Restorer.open(tiny_bundle, kind.name)
        pytest.skip("this processor has no bfloat16 arithmetic")
    exact = Restorer.open(tiny_bundle, "openvino").restore(crop)
    coarse = Restorer.open(tiny_bundle, kind.name).restore(crop)
    error = np.square(exact.image.astype(float) - coarse.image).mean()
    # Weights that are drawn, not trained, amplify more than a trained network does.
    assert 10 * np.log10(255**2 / error) > 40
    assert "bf16" in Restorer.open(tiny_bundle, kind.name).backend.description


def test_bfloat16_is_for_both_branches(
    tiny_bundle: Path, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The CPU's float32 plays bfloat16."""
    monkeypatch.setenv("LORAIR_CACHE", str(tmp_path))  # what is kept is not compiled
    asked: list[str] = []
    real = openvino_library.Core.compile_model

    def compile_model(core: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        asked.append(config["INFERENCE_PRECISION_HINT"])
        return real(core, model, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino_library.Core, "compile_model", compile_model)
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    restorer = Restorer.open(tiny_bundle, "openvino-bf16")
    found, wanted = restorer.restore(crop), Restorer.open(tiny_bundle, "openvino").restore(crop)
    assert asked == ["bf16", "bf16", "f32"], "in float32 the router is ONNX Runtime's"
    assert "router on" not in restorer.backend.description
    np.testing.assert_allclose(found.route.prior, wanted.route.prior, atol=1e-4)
    assert np.abs(found.image.astype(int) - wanted.image).max() <= 1


@pytest.mark.parametrize("name", ["openvino-gpu", "openvino-npu"])
def test_openvino_s_devices_are_named(name: str, tiny_bundle: Path) -> None:
    device = name.removeprefix("openvino-").upper()
    if BACKENDS[name].missing() is None:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match=rf"no {device} among OpenVINO's devices \(CPU\)"):
        Restorer.open(tiny_bundle, name)
    assert not BACKENDS[name].is_faster(), "auto takes it only if `tune` has timed it"


@pytest.mark.parametrize("name", ["openvino-gpu", "openvino-npu"])
def test_another_device_restores_the_same(
    name: str, tiny_bundle: Path, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU's plugin plays the device; an NPU's graphs have one size each."""
    asked: list[tuple[str, str, dict[str, Any], bool]] = []
    real = openvino_library.Core.compile_model

    def compile_model(core: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        asked.append((device, config["INFERENCE_PRECISION_HINT"], config, model.is_dynamic()))
        return real(core, model, "CPU", {**config, "INFERENCE_PRECISION_HINT": "f32"})

    device = name.removeprefix("openvino-").upper()
    monkeypatch.setattr(openvino_library.Core, "compile_model", compile_model)
    monkeypatch.setattr(openvino, "_devices", lambda: ("CPU", device))
    restorer = Restorer.open(tiny_bundle, name)
    wanted = Restorer.open(tiny_bundle, "onnxruntime")
    for picture in (crop, crop[:40], crop):
        route = wanted.route(picture)
        found = restorer.restore(picture).image.astype(int)
        assert np.abs(found - wanted.restore(picture, route).image).max() <= 1
    tiled, whole = (restorer.restore(crop, tile=t).image.astype(int) for t in (128, "off"))
    assert np.abs(tiled - whole).mean() < (2 if device == "GPU" else 8)
    assert {one[0] for one in asked} == {device}
    assert not any("INFERENCE_NUM_THREADS" in one[2] for one in asked)
    precisions = {"f16", "f32"} if device == "GPU" else {"f16"}
    assert {one[1] for one in asked} == precisions, "only the router is in float32"
    assert any(one[3] for one in asked) == (device == "GPU")
    assert f"f16, {device}" in restorer.backend.description


def test_fp16_bundles_run_everywhere(tiny_bundle_fp16: Path, crop: np.ndarray) -> None:
    wanted = Restorer.open(tiny_bundle_fp16, "onnxruntime").restore(crop).image.astype(float)
    found = Restorer.open(tiny_bundle_fp16, "openvino").restore(crop).image
    assert np.abs(wanted - found).mean() < 0.5


def test_only_the_first_gates_are_bound() -> None:
    compiled: list[Any] = []

    def compile(gates: np.ndarray | None = None) -> Any:
        compiled.append("general" if gates is None else gates.tolist())
        return compiled[-1]

    shared = FirstGates()
    graphs = BoundGraphs(shared, compile, compile)
    first, second = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    assert graphs.get(first) == ([1.0, 0.0], False)
    assert graphs.get(second) == ("general", True)
    first_again = first.copy()
    first[:] = 7  # the caller's array is the caller's
    assert graphs.get(first_again) == ([1.0, 0.0], False)
    assert graphs.get(np.array([0.5, 0.5], np.float32)) == ("general", True)
    assert compiled == [[1.0, 0.0], "general"]
    of_tiles = BoundGraphs(shared, compile, compile)
    assert of_tiles.get(second) == ("general", True), "the backend's first route is another"
    assert of_tiles.get(first_again) == ([1.0, 0.0], False)
    assert BoundGraphs(FirstGates(), None, compile).get(second) == ("general", True)


def test_auto_keeps_the_bundle_s_precision(
    tiny_bundle: Path, tiny_bundle_fp16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorair.runtime.backends.openvino.has_bfloat16", lambda: True)
    assert choose(Bundle.open(tiny_bundle)).name == "openvino"
    assert choose(Bundle.open(tiny_bundle_fp16)).name == "openvino-bf16"
    monkeypatch.setattr("lorair.runtime.backends.openvino.has_bfloat16", lambda: False)
    assert choose(Bundle.open(tiny_bundle_fp16)).name == "openvino"
    restorer = Restorer.open(tiny_bundle)
    assert restorer.backend.name == "openvino"
    assert "auto: the fastest here for an fp32 bundle" in options.backend_note(restorer)
    assert Restorer.open(tiny_bundle, "onnxruntime").skipped is None


def test_auto_takes_what_is_installed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(tiny_bundle)
    installed = {"onnxruntime"}
    monkeypatch.setattr(
        "lorair.runtime.backends.backend.is_installed", lambda name: name in installed
    )
    assert choose(bundle).name == "onnxruntime"
    installed.clear()
    with pytest.raises(DependencyError, match=r"pip install .*\[cpu\]'?; `lorair-run doctor`"):
        choose(bundle)


def test_a_bundle_without_openvino_s_form(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    files = {n: i for n, i in bundle.manifest.files.items() if n != "restorer.openvino.onnx"}
    older = Bundle(bundle.path, bundle.manifest.model_copy(update={"files": files}))
    assert choose(older).name == "onnxruntime"
    with pytest.raises(BackendError, match=r"restorer\.openvino\.onnx in it, found a bundle of"):
        BACKENDS["openvino"].open(older, None)


def test_a_second_run_of_a_size_takes_no_more_memory(tiny_bundle: Path) -> None:
    program = """if True:
        import sys
        import numpy as np
        from lorair import Restorer
        from lorair.runtime.system.machine import peak_memory
        restorer, picture = Restorer.open(sys.argv[1], "onnxruntime"), np.zeros((512, 512, 3))
        route, before = restorer.route(picture.astype(np.float32)), peak_memory()
        peaks = []
        for _ in range(2):
            restorer.restore(picture.astype(np.float32), route, tile="off")
            peaks.append(peak_memory() - before)
        print(peaks[1] / peaks[0])
    """
    command = [sys.executable, "-c", program, tiny_bundle]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.2
