"""ONNX Runtime's provider for TensorRT for RTX, played by the CPU's: its package wants a driver."""

import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from lorair import Restorer
from lorair.runtime.backends import BACKENDS, onnxruntime_rtx
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError, DependencyError

Opened = list[tuple[str, str | None]]
CONTEXT = "ep.context_file_path"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Opened:
    """What was opened, and where its compiled graph was asked for.

    A session that is asked for one writes what the CPU's provider makes of the graph there.
    """
    sessions: Opened = []

    def open_session(graph: Path, options: Any) -> Any:
        place: str | None = None
        with suppress(Exception):  # there is no way to ask whether there is one
            place = options.get_session_config_entry(CONTEXT)
        if place is not None:
            assert options.get_session_config_entry("ep.context_enable") == "1"
            options.optimized_model_filepath = place
            name = "ep.context_model_external_initializers_file_name"
            data = options.get_session_config_entry(name)
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", data
            )
            level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.graph_optimization_level = level
        sessions.append((graph.name, place and Path(place).name))
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(graph, options, providers=providers)

    plugin: Any = ModuleType(onnxruntime_rtx.PLUGIN)
    plugin.__version__ = "0.5.0"
    device = SimpleNamespace(device=SimpleNamespace(metadata={"Description": "a made-up RTX"}))
    monkeypatch.setitem(sys.modules, onnxruntime_rtx.PLUGIN, plugin)
    monkeypatch.setattr(onnxruntime_rtx, "require", lambda *_: None)
    monkeypatch.setattr(onnxruntime_rtx, "_devices", lambda: (device,))
    monkeypatch.setattr(onnxruntime_rtx, "_open_session", open_session)
    monkeypatch.setenv("LORAIR_CACHE", str(tmp_path / "cache"))
    return sessions


def open_restorer(bundle: Path) -> Restorer:
    opened = Bundle.open(bundle)
    backend = onnxruntime_rtx.open_backend(onnxruntime_rtx.NAME, opened, None, 1)
    restorer = Restorer(opened, backend)
    restorer.unchanged = ()  # the network is what is tested
    return restorer


def test_compiled_graphs_are_kept(opened: Opened, default_bundle: Path, photo: np.ndarray) -> None:
    picture = photo[:50, :70]
    cpu = Restorer.open(default_bundle, "onnxruntime")
    wanted = cpu.restore(picture)
    found = open_restorer(default_bundle).restore(picture)
    assert np.abs(found.image.astype(int) - wanted.image).max() <= 1
    np.testing.assert_allclose(found.route.prior, wanted.route.prior, atol=1e-5)
    graphs = ["router.onnx", "restorer.openvino.onnx"]
    assert opened == [
        step for g in graphs for step in ((g, "context.onnx"), ("context.onnx", None))
    ]
    opened.clear()
    again = open_restorer(default_bundle)
    np.testing.assert_array_equal(again.restore(picture).image, found.image)
    assert opened == [("context.onnx", None)] * 2, "nothing is compiled again"
    opened.clear()
    mixture = wanted.route.with_gates(np.float32([0.5, 0.5, 0, 0]))
    mixed = again.restore(picture, mixture).image.astype(int)
    assert np.abs(mixed - cpu.restore(picture, mixture).image).max() <= 1
    assert opened[0] == ("restorer.openvino.onnx", "context.onnx"), "other gates, another graph"


def test_a_damaged_one_is_made_again(
    opened: Opened, default_bundle: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    picture = photo[:32, :32]
    wanted = open_restorer(default_bundle).restore(picture).image
    for kept in (tmp_path / "cache").rglob("context.onnx"):
        kept.write_bytes(b"of another driver")
    np.testing.assert_array_equal(open_restorer(default_bundle).restore(picture).image, wanted)
    assert not list((tmp_path / "cache").rglob("context.onnx"))


def test_without_a_cache_it_runs_as_well(
    opened: Opened, default_bundle: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAIR_CACHE", "off")
    restorer = open_restorer(default_bundle)
    restored = restorer.restore(photo[:150, :300], tile=128)
    assert restored.tile == 128
    assert {name for name, _ in opened} == {"router.onnx", "restorer.webgpu.tiled.onnx"}
    assert "TensorRT for RTX by its plugin 0.5.0" in restorer.backend.description


def test_what_is_missing_is_named(default_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = onnxruntime_rtx.NAME
    if BACKENDS[name].version is None:
        with pytest.raises(DependencyError, match="onnxruntime_ep_nv_tensorrt_rtx"):
            Restorer.open(default_bundle, name)
    monkeypatch.setattr(onnxruntime_rtx, "require", lambda *_: None)
    monkeypatch.setattr(onnxruntime_rtx, "_devices", tuple)
    with pytest.raises(BackendError, match="found ONNX Runtime lists no RTX GPU"):
        Restorer.open(default_bundle, name)

    def fails() -> None:
        raise RuntimeError("libcuda.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(onnxruntime_rtx, "_devices", fails)
    lacking = "the plugin does not load: libcuda.so.1: cannot open shared object file"
    assert onnxruntime_rtx.lacks(name) == lacking
    bundle = Bundle.open(default_bundle)
    int8 = bundle.manifest.model_copy(update={"router_precision": "int8"})
    assert "is for CPUs" in str(onnxruntime_rtx.unfit(name, Bundle(bundle.path, int8)))
