"""The WebGPU backend with the CPU's provider in the place of a GPU's, and on SwiftShader."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import golden
import numpy as np
import on_webgpu
import onnx
import onnxruntime
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from typer.testing import CliRunner

from lorair import Restorer
from lorair.exporter.commands.main import app as export
from lorair.runtime.backends import choose, webgpu
from lorair.runtime.backends.graphs import GraphEach, run_failure
from lorair.runtime.backends.onnxruntime import SessionGraph
from lorair.runtime.backends.tiles import TileInputs
from lorair.runtime.backends.webgpu import Adapter
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError, DependencyError, InternalError, OutOfMemoryError
from lorair.runtime.pixels import make_views, to_planes
from lorair.runtime.routing.route import gates_from_logits

GATES = {
    "one": [1, 0, 0, 0],
    "another": [0, 0, 1, 0],
    "mixture": [0.5, 0.2, 0.3, 0],
    "other mixture": [0.1, 0.2, 0.3, 0.4],
    "none": [0, 0, 0, 0],
}
LOST = ("while running Conv node. Status Message: Device lost", '[Device "GPU"] is lost.')

Opened = list[Any]
"""What was opened on the made-up GPU: sessions."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """A GPU that is the CPU."""
    sessions: Opened = []

    def open_session(graph: Any, options: Any) -> Any:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
        providers = ["CPUExecutionProvider"]
        sessions.append(onnxruntime.InferenceSession(graph, options, providers=providers))
        return sessions[-1]

    monkeypatch.setattr(webgpu, "_open_session", open_session)
    monkeypatch.setattr(webgpu, "adapter", lambda: Adapter(None, "a made-up GPU", has_half=True))
    monkeypatch.setattr(webgpu, "_is_built_in", lambda: True)
    monkeypatch.setattr(webgpu, "_DEVICE", webgpu._Device())
    return sessions


@pytest.fixture
def restorer(opened: Opened, default_bundle: Path) -> Restorer:
    bundle = Bundle.open(default_bundle)
    restorer = Restorer(bundle, webgpu.open_backend("webgpu", bundle, None, 1))
    restorer.unchanged = ()  # the network is what is tested
    return restorer


@pytest.fixture(scope="module")
def cpu(default_bundle: Path) -> Restorer:
    return Restorer.open(default_bundle, "onnxruntime")


@pytest.fixture(scope="module")
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[:41, :60])


def test_each_gates_have_a_graph_of_their_own(
    restorer: Restorer, cpu: Restorer, crop: np.ndarray, opened: Opened
) -> None:
    routed = cpu.route(crop)
    for gates in (*GATES.values(), GATES["one"]):
        route = replace(routed, gates=np.array(gates, np.float32))
        found, wanted = (one.restore(crop, route).image for one in (restorer, cpu))
        assert (found == wanted).mean() >= 0.999
    assert [value.name for value in opened[0].get_inputs()] == ["image", "prior"]
    assert len(opened) == len(GATES) + 1  # the first was the least recently used of four


def test_the_router_is_on_it_too(restorer: Restorer, cpu: Restorer, crop: np.ndarray) -> None:
    found, wanted = restorer.route(crop), cpu.route(crop)
    np.testing.assert_allclose(found.prior, wanted.prior, atol=1e-5)
    np.testing.assert_array_equal(found.gates, wanted.gates)
    assert restorer.backend.description.endswith("WebGPU on a made-up GPU")


def test_tiles_share_means(restorer: Restorer, cpu: Restorer, crop: np.ndarray) -> None:
    gates, prior = np.array(GATES["mixture"], np.float32), cpu.route(crop).prior[None]
    tile = TileInputs(to_planes(crop, 16), prior, gates, (0, 16), (32, 64))
    assert restorer.backend.shares_means
    for means in (None, cpu.backend.restore_tile(tile, None)[1] * 1.1):
        found, wanted = (one.backend.restore_tile(tile, means) for one in (restorer, cpu))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_compiled_graphs_are_as_many_as_experts() -> None:
    compiled: list[list[float]] = []
    graphs = GraphEach[int](lambda gates: compiled.append(gates.tolist()) or len(compiled))
    first, second, third = np.float32([[1, 0], [0, 1], [0.5, 0.5]])
    for gates in (first, second, first, third, first, second):
        graphs.get(gates)
    assert compiled == [first.tolist(), second.tolist(), third.tolist(), second.tolist()]


def plant(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], str | None]) -> None:
    """Make the n-th run of a session, counted from 0, fail with what `when` says."""
    run, count = SessionGraph.run, iter(range(1000))

    def planted(graph: SessionGraph, inputs: dict[str, Any]) -> Any:
        if (message := when(next(count))) is not None:
            raise RuntimeError(message)
        return run(graph, inputs)

    monkeypatch.setattr(SessionGraph, "run", planted)


def test_a_device_lost_in_the_middle_costs_a_retry_and_no_picture(
    restorer: Restorer, crop: np.ndarray, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = restorer.restore(crop).image
    before = len(opened)
    plant(monkeypatch, lambda number: LOST[0] if number == 3 else None)
    found = [restorer.restore(crop).image for _ in range(3)]
    assert all((image == wanted).all() for image in found)
    assert len(opened) == 2 * before  # the router and the restorer, once more each
    assert "lost" not in restorer.backend.description


def test_a_device_lost_again_leaves_the_cpu(
    restorer: Restorer, crop: np.ndarray, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = restorer.restore(crop).image
    plant(monkeypatch, lambda number: LOST[1] if number in (1, 2) else None)
    assert (restorer.restore(crop).image == wanted).all()
    count = len(opened)
    assert (restorer.restore(crop).image == wanted).all()
    assert len(opened) == count
    assert restorer.backend.description.endswith("a made-up GPU, lost: now on the CPU")


def test_other_failures_are_failures(
    restorer: Restorer, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, lambda number: "a shader that does not compile")
    with pytest.raises(InternalError, match="webgpu failed on the router's views: found a shader"):
        restorer.restore(crop)


@pytest.mark.parametrize(
    "text",
    [
        "was false. Too many storage buffers in shader. Current: 13, Max is 12",
        "Buffer size (805306368) exceeds the max buffer size limit (268435456).",
        "buffer was false. Failed to create GPU buffer: size=805306368",
    ],
)
def test_what_is_beyond_the_adapter_s_limits_asks_for_smaller_tiles(text: str) -> None:
    error = run_failure("webgpu", "a picture", RuntimeError(text))
    assert isinstance(error, OutOfMemoryError)


NO_ADAPTER = "webgpu_context.cc:65 status == Success was false. Failed to get a WebGPU adapter"
NO_HALF = "Program Neg requires f16 but the device does not support it."
TOO_OLD = "The plugin needs a newer version of ONNX Runtime"
ADAPTER, LISTED = inspect.unwrap(webgpu.adapter), inspect.unwrap(webgpu._listed)
DISCRETE = {"Discrete": "1", "Description": "Arc B580"}


class Library:
    """onnxruntime with WebGPU: as its own provider, or as a plugin's."""

    def __init__(self, facts: dict[str, str] | None, *, plugin: bool, run: str = "") -> None:
        device = SimpleNamespace(vendor="Intel", device_id=0xE20B, metadata=facts)
        gpu = SimpleNamespace(ep_name=webgpu.PROVIDER, device=device)
        self.devices = [] if facts is None else [gpu]
        self.plugin, self.fails, self.calls = plugin, run, list[Any]()

    def get_available_providers(self) -> list[str]:
        return ["CPUExecutionProvider"] if self.plugin else [webgpu.PROVIDER]

    def get_ep_devices(self) -> list[Any]:
        return self.devices

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.calls.append((name, path))
        if self.fails == TOO_OLD:
            raise RuntimeError(self.fails)

    def SessionOptions(self) -> Any:  # noqa: N802
        return SimpleNamespace(
            add_provider_for_devices=lambda devices, options: self.calls.append(devices)
        )

    def InferenceSession(self, graph: Any, options: Any, **rest: Any) -> Any:  # noqa: N802
        self.calls.append(rest)
        if self.fails == NO_ADAPTER:
            raise RuntimeError(self.fails)
        return self

    def run(self, outputs: None, inputs: dict[str, Any]) -> None:
        if self.fails:
            raise RuntimeError(self.fails)


def examined(monkeypatch: pytest.MonkeyPatch, library: Library) -> Adapter:
    for name in ("webgpu", "onnxruntime"):
        module = f"lorair.runtime.backends.{name}.import_onnxruntime"
        monkeypatch.setattr(module, lambda: library)
    plugin: Any = ModuleType(webgpu.PLUGIN)
    plugin.get_library_path = lambda: "plugin.so"
    monkeypatch.setitem(sys.modules, webgpu.PLUGIN, plugin)
    monkeypatch.setattr(webgpu, "is_installed", lambda name: library.plugin)
    monkeypatch.setattr(webgpu, "_listed", LISTED)
    monkeypatch.setattr(webgpu, "adapter", ADAPTER)
    return ADAPTER()


@pytest.mark.parametrize(
    ("library", "wanted"),
    [
        (Library(None, plugin=True), Adapter("the system lists no GPU for WebGPU")),
        (Library(None, plugin=False), Adapter(None, has_half=True)),
        (Library(None, plugin=False, run=NO_HALF), Adapter(None)),
        (
            Library(None, plugin=False, run=NO_ADAPTER),
            Adapter("no adapter: Failed to get a WebGPU adapter"),
        ),
        (Library(None, plugin=False, run="x"), Adapter("no adapter: x")),
        (Library({}, plugin=True, run=TOO_OLD), Adapter(f"the plugin does not load: {TOO_OLD}")),
        (Library(DISCRETE, plugin=True), Adapter(None, "Arc B580 (discrete)", True)),
        (Library({}, plugin=False), Adapter(None, "Intel GPU 0xe20b (integrated)", True)),
    ],
)
def test_the_adapter_is_what_the_library_finds(
    library: Library, wanted: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert examined(monkeypatch, library) == wanted


def test_both_flavours_open_behind_one_door(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, built_in = Library(DISCRETE, plugin=True), Library(DISCRETE, plugin=False)
    examined(monkeypatch, plugin)
    assert (webgpu.PROVIDER, "plugin.so") in plugin.calls
    assert plugin.calls[-2:] == [plugin.devices, {}]
    examined(monkeypatch, built_in)
    assert built_in.calls == [{"providers": [webgpu.PROVIDER], "enable_fallback": 0}]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_probe_is_one_operator(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[bytes] = []
    stub = SimpleNamespace(run=lambda outputs, inputs: None)
    monkeypatch.setattr(webgpu, "_session", lambda graph, options: graphs.append(graph) or stub)
    webgpu._negate(np.ones(1, dtype))
    model = onnx.load_from_string(graphs[0])
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Neg"]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert [value.type.tensor_type.elem_type for value in model.graph.input] == [kind]


def test_auto_takes_a_gpu_with_a_memory_of_its_own(
    default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(default_bundle)
    monkeypatch.setattr("lorair.runtime.backends.backend.version", lambda name: "1.27")
    for facts, wanted in ((DISCRETE, "webgpu"), ({}, "openvino"), (None, "openvino")):
        examined(monkeypatch, Library(facts, plugin=False))
        monkeypatch.setattr(webgpu, "adapter", lambda: Adapter(None))
        assert choose(bundle).name == wanted


def test_a_plugin_that_is_not_there_is_named(
    default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webgpu, "_is_built_in", lambda: False)
    with pytest.raises(DependencyError, match=r"pip install .*\[webgpu\]'"):
        webgpu.open_backend("webgpu", Bundle.open(default_bundle), None, 1)


def test_an_fp16_bundle_needs_shader_f16(
    default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webgpu, "_is_built_in", lambda: True)
    exact = Bundle.open(default_bundle)
    half = replace(exact, manifest=exact.manifest.model_copy(update={"precision": "fp16"}))
    monkeypatch.setattr(webgpu, "adapter", lambda: Adapter(None))
    assert webgpu.unfit("webgpu", exact) is None
    with pytest.raises(BackendError, match="found the GPU has no shader-f16"):
        webgpu.open_backend("webgpu", half, None, 1)
    assert webgpu.about("webgpu") == "a GPU that the system does not list, no shader-f16"
    monkeypatch.setattr(webgpu, "adapter", lambda: Adapter("none is there"))
    with pytest.raises(BackendError, match="found none is there"):
        webgpu.open_backend("webgpu", half, None, 1)


# On SwiftShader, the software Vulkan in Chromium, in a process with onnxruntime-webgpu. What is
# marked takes minutes: `make webgpu-check`.


@pytest.fixture(scope="module")
def swiftshader(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    if (reason := on_webgpu.missing()) is not None:
        pytest.skip(reason)
    return lambda *tasks: on_webgpu.run(tasks, tmp_path_factory.mktemp("webgpu"))


def is_within_a_step(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Within 1/255 in 99.9 % of values."""
    peak = np.iinfo(wanted.dtype).max
    error = np.abs(found.astype(float) - wanted.astype(float)) / peak
    return bool((error <= 1 / 255).mean() >= 0.999)


def test_the_default_model_on_a_software_gpu(
    swiftshader: Callable[..., list[Any]], default_bundle: Path, photo: np.ndarray
) -> None:
    pixels = np.ascontiguousarray(photo[60:76, 100:116])
    exact = Restorer.open(default_bundle, "onnxruntime")
    route = exact.route(pixels)
    (found,) = swiftshader(("restore", default_bundle, pixels, route))
    assert is_within_a_step(found, exact.restore(pixels, route).image)


@pytest.mark.webgpu
def test_all_of_the_default_model_on_a_software_gpu(
    swiftshader: Callable[..., list[Any]], default_bundle: Path, photo: np.ndarray
) -> None:
    exact = Restorer.open(default_bundle, "onnxruntime")
    model = exact.bundle.manifest.model
    route = exact.route(photo)
    experts = np.eye(model.experts, dtype=np.float32)
    mixture = np.full(model.experts, 1 / model.experts, np.float32)
    wide = photo.astype(np.uint16) * 257
    pictures = [photo[:16, :16], wide[:33, :48], photo[:64, :64], wide[:40, :40], photo[:144, :32]]
    routes = [replace(route, gates=gates) for gates in (*experts[:3], mixture, experts[1])]
    tasks = [
        ("restore", default_bundle, np.ascontiguousarray(picture), given, 128)
        for picture, given in zip(pictures, routes, strict=True)
    ]
    planes = to_planes(np.ascontiguousarray(photo[:16, :16]), model.stride)
    inputs = {"image": planes, "prior": route.prior[None]}
    views = {"views": make_views(photo, model.clip_side)}
    routed, *restored, of_restorer, of_router = swiftshader(
        ("route", default_bundle, photo),
        *tasks,
        ("nodes", default_bundle, "restorer", inputs, experts[0]),
        ("nodes", default_bundle, "router", views, experts[0]),
    )
    np.testing.assert_allclose(routed.prior, route.prior, atol=1e-4)
    np.testing.assert_array_equal(routed.gates, route.gates)
    for (_, _, picture, given, tile), found in zip(tasks, restored, strict=True):
        wanted = exact.restore(picture, given, tile)
        assert is_within_a_step(found, wanted.image)
    assert wanted.tile == 128  # the last of them
    assert list(of_restorer) == [webgpu.PROVIDER]
    on_the_cpu = {text.split()[1] for text in of_router["CPUExecutionProvider"]}
    assert on_the_cpu <= {"Concat", "Equal", "Mul", "Reshape", "Squeeze", "Unsqueeze"}  # shapes


@pytest.mark.webgpu
def test_an_fp16_bundle_on_a_software_gpu(
    swiftshader: Callable[..., list[Any]], tiny_bundle_fp16: Path, crop: np.ndarray
) -> None:
    """It is 50 dB from the CPU's where the adapter has shader-f16, and refused elsewhere."""
    wanted = Restorer.open(tiny_bundle_fp16, "onnxruntime").restore(crop)
    (found,) = swiftshader(("restore", tiny_bundle_fp16, crop, wanted.route))
    if isinstance(found, str):
        assert "found the GPU has no shader-f16, which an fp16 bundle needs" in found
    else:
        assert peak_signal_noise_ratio(wanted.image, found) > 50


@pytest.mark.webgpu
@golden.needs_golden
@pytest.mark.parametrize("name", golden.NAMES)
def test_the_golden_cases_on_a_software_gpu(
    swiftshader: Callable[..., list[Any]], name: str, tmp_path: Path
) -> None:
    case = golden.load_case(name)
    command = ["build", "--ir-weights", case.folder / "ir.pth", "--router-weights"]
    command += [case.folder / "router.pth", "--top-k", case.top_k, "-o", tmp_path / "bundle"]
    assert CliRunner().invoke(export, [str(part) for part in command]).exit_code == 0
    with Image.open(case.picture) as picture:
        image = to_planes(np.asarray(picture.convert("RGB")), 16)
    names = [key for key in case.arrays if key.startswith("logits")]
    gates = [gates_from_logits(case.arrays[key][0], case.top_k) for key in names]
    views, prior = case.arrays["views"], case.arrays["prior"]
    (found,) = swiftshader(("branches", tmp_path / "bundle", views, image, prior, gates))
    np.testing.assert_allclose(found[0], case.arrays["logits"], atol=1e-4)
    np.testing.assert_allclose(found[1], prior, atol=1e-4)
    for key, restored in zip(names, found[3:], strict=True):
        wanted = case.arrays[key.replace("logits", "restored")]
        height, width = wanted.shape[2:]
        np.testing.assert_allclose(restored[..., :height, :width], wanted, atol=1e-4)
