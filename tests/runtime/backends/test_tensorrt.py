"""The TensorRT backend over a stand-in for the library, on a simulated GPU."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_files import VERSION, WEIGHTS, add_engine
from fake_tensorrt import FakeEngine, FakeTensorRT
from simulated_gpu import SimulatedGpu, compiled_pictures

from lorair import Restorer
from lorair.exporter.graphs.merged import merged
from lorair.runtime.backends import gpu as backend_gpu
from lorair.runtime.backends import select
from lorair.runtime.backends import tensorrt as backend_module
from lorair.runtime.backends.tensorrt import EngineBranch, open_tensorrt
from lorair.runtime.bundle.engines import GRAPHS, Depends, Range
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.commands.options import backend_note
from lorair.runtime.doctor import examine
from lorair.runtime.errors import BackendError, BundleError, PictureError
from lorair.runtime.gpu.driver import DriverInfo, GpuInfo
from lorair.runtime.gpu.engine_fit import MODULES, misfit
from lorair.runtime.tiles import first_tile

RAIN = np.array([0, 1, 0], np.float32)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    bundle = Bundle.open(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    for branch in GRAPHS:
        add_engine(bundle, branch)
    return bundle


@pytest.fixture
def gpu() -> SimulatedGpu:
    return SimulatedGpu()


@pytest.fixture(params=["tensorrt-rtx", "tensorrt"])
def library(
    request: pytest.FixtureRequest, gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch
) -> FakeTensorRT:
    made = FakeTensorRT(gpu, VERSION, rtx=request.param == "tensorrt-rtx")
    monkeypatch.setattr(backend_module, "import_module", lambda name: made)
    return made


@pytest.fixture
def rtx(gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    made = FakeTensorRT(gpu, VERSION, rtx=True)
    monkeypatch.setattr(backend_module, "import_module", lambda name: made)
    return made


@pytest.fixture
def with_kernels(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    (bundle.path / KERNELS).mkdir()
    found = list(compiled_pictures().values())
    monkeypatch.setattr("lorair.runtime.backends.gpu.read_index", lambda folder: found)
    return bundle


def test_the_whole_walk(
    rtx: FakeTensorRT, gpu: SimulatedGpu, with_kernels: Bundle, photo: Any
) -> None:
    pixels = np.ascontiguousarray(photo[:41, :60])
    wanted = Restorer(with_kernels, select("onnxruntime", with_kernels)).restore(pixels)
    restorer = Restorer(with_kernels, open_tensorrt(with_kernels, "tensorrt-rtx", gpu))
    assert "the whole walk on a simulated GPU" in restorer.backend.description
    for _ in range(3):
        found = restorer.restore(pixels)
        assert (found.image == wanted.image).mean() > 0.999
        np.testing.assert_allclose(found.route.prior, wanted.route.prior, atol=1e-5)
        assert set(found.seconds) == {"walk"}
    assert gpu.captures == 2
    # 16-bit pictures take the host's ends.
    deep = restorer.restore(pixels.astype(np.uint16) * 257)
    assert deep.image.dtype == np.uint16
    assert np.abs(deep.image / 257 - wanted.image).max() <= 1


def test_without_kernels_the_host_prepares_pictures(
    library: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle, photo: Any
) -> None:
    flavour = "tensorrt-rtx" if hasattr(library, "IRuntimeCache") else "tensorrt"
    if flavour == "tensorrt":
        for branch in GRAPHS:
            add_engine(bundle, branch, flavour="tensorrt", device=gpu.info.target)
    backend = open_tensorrt(bundle, flavour, gpu)
    assert backend.walk is None
    restorer = Restorer(bundle, backend)
    for height in (41, 41, 20):
        pixels = np.ascontiguousarray(photo[:height, :60])
        wanted = Restorer.open(bundle.path, "onnxruntime").restore(pixels).image
        assert (restorer.restore(pixels).image == wanted).mean() > 0.999
    # One context for the router, one for each size, which are kept.
    assert len(library.contexts) == 3
    held = gpu.used
    restorer.restore(np.ascontiguousarray(photo[:20, :60]))
    assert (gpu.used, len(library.contexts)) == (held, 3)


def test_what_rtx_compiles_is_kept(
    rtx: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle, photo: Any
) -> None:
    pixels = np.ascontiguousarray(photo[:20, :20])
    Restorer(bundle, open_tensorrt(bundle, "tensorrt-rtx", gpu)).restore(pixels)
    kept = sorted((bundle.path / "engines").glob("*.runtime-cache"))
    assert [path.read_bytes() for path in kept] == [b"kernels", b"kernels"]
    rtx.caches.clear()
    Restorer(bundle, open_tensorrt(bundle, "tensorrt-rtx", gpu)).restore(pixels)
    assert all(cache.content.startswith(b"kernels") for cache in rtx.caches)
    Bundle.open(bundle.path)  # still a whole bundle


def test_the_engine_with_the_least_reach_is_taken(
    rtx: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle
) -> None:
    add_engine(bundle, "restorer", most=320)
    backend = open_tensorrt(bundle, "tensorrt-rtx", gpu)
    networks = vars(backend)["_networks"]
    small, large = (networks.restorer(size, RAIN) for size in ((96, 96), (112, 96)))
    assert small is not large
    assert networks.restorer((16, 16), RAIN) is small


def test_a_picture_beyond_the_engine_s_reach(
    rtx: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle, photo: Any
) -> None:
    restorer = Restorer(bundle, open_tensorrt(bundle, "tensorrt-rtx", gpu))
    with pytest.raises(PictureError, match=r"wanted 16x16 to 96x96.*--max 208x304"):
        restorer.restore(photo)


@pytest.fixture(scope="module")
def merged_graphs(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One for each expert."""
    folder = tmp_path_factory.mktemp("merged")
    paths = [folder / f"{expert}.onnx" for expert in range(3)]
    for gates, path in zip(np.eye(3, dtype=np.float32), paths, strict=True):
        onnx.save(merged(tiny_bundle / "restorer.onnx", gates), path)
    return paths


@pytest.fixture
def engines(bundle: Bundle, merged_graphs: list[Path]) -> list[Path]:
    """The merged engines in the bundle, beside one for any route."""
    return [
        add_engine(bundle, "restorer", source=graph, gates=tuple(map(float, gates)))
        for gates, graph in zip(np.eye(3), merged_graphs, strict=True)
    ]


def restored_alike(restorer: Restorer, pixels: Any, gates: list[float]) -> None:
    """As ONNX Runtime restores it under these gates."""
    plain = Restorer(restorer.bundle, select("onnxruntime", restorer.bundle))
    route = plain.route(pixels).with_gates(np.array(gates, np.float32))
    found = restorer.restore(pixels, route).image
    assert (found == plain.restore(pixels, route).image).mean() > 0.999


SNOWY, RAINY, DROPS, MIXED = [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]


@pytest.mark.parametrize("walk", [True, False])
def test_the_gates_choose_the_engine(
    walk: bool, rtx: FakeTensorRT, gpu: SimulatedGpu, engines: list[Path], photo: Any,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    bundle = request.getfixturevalue("with_kernels" if walk else "bundle")
    restorer = Restorer(bundle, open_tensorrt(bundle, "tensorrt-rtx", gpu))
    assert (restorer.backend.walk is not None) == walk
    pixels = np.ascontiguousarray(photo[:41, :60])
    loads: list[list[str]] = []
    for gates in (SNOWY, RAINY, MIXED, DROPS, RAINY, MIXED, SNOWY):
        before = len(rtx.loaded)
        restored_alike(restorer, pixels, gates)
        loads.append(rtx.loaded[before:])
    # Each when it is first needed, and once; another was tried at the beginning.
    names = ["0.onnx", "1.onnx", "2.onnx", "restorer.onnx"]
    assert loads[4:] == [[], [], []]
    once = sorted(name for load in loads for name in load)
    assert once in (names, names[1:]), "the first may be needed at once"
    # The router's own choice is one expert, and takes its engine.
    route = restorer.route(pixels)
    restored_alike(restorer, pixels, [float(g) for g in route.gates])
    assert restorer.restore(pixels).route.gates.tolist() == route.gates.tolist()
    assert {*rtx.loaded} - {"router.onnx"} == {*names}


def test_the_least_recently_used_engine_goes(
    rtx: FakeTensorRT, gpu: SimulatedGpu, engines: list[Path], with_kernels: Bundle, photo: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pixels = np.ascontiguousarray(photo[:16, :16])
    blocks = 100_000  # a plan of that size
    monkeypatch.setattr(backend_gpu, "_SHARE", (2.5 * WEIGHTS + blocks) / gpu.memory)
    restorer = Restorer(with_kernels, open_tensorrt(with_kernels, "tensorrt-rtx", gpu))
    for gates in (SNOWY, RAINY, SNOWY, DROPS, SNOWY):
        restored_alike(restorer, pixels, gates)
    first, *later = rtx.loaded  # the first is tried when the bundle is opened
    assert later in (["0.onnx", "1.onnx", "2.onnx"], ["1.onnx", "2.onnx"])
    held = gpu.used
    restored_alike(restorer, pixels, RAINY)  # it went, for the third
    assert rtx.loaded == [first, *later, "1.onnx"]
    assert gpu.used == held, "and another went for it"


def test_a_damaged_engine_gives_way_to_the_next_form(
    rtx: FakeTensorRT, gpu: SimulatedGpu, engines: list[Path], bundle: Bundle, photo: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    pixels = np.ascontiguousarray(photo[:20, :20])
    restorer = Restorer(bundle, open_tensorrt(bundle, "tensorrt-rtx", gpu))
    loaded = rtx.loaded[0]
    other = DROPS if loaded != "2.onnx" else RAINY
    path = engines[other.index(1)]
    path.write_bytes(bytes(path.stat().st_size))
    for _ in range(2):
        restored_alike(restorer, pixels, other)
    assert "restorer.onnx" in rtx.loaded
    (message,) = [record.message for record in caplog.records]
    assert path.name in message
    assert "wanted the engine as it was built" in message


def test_without_an_engine_for_any_route(
    rtx: FakeTensorRT, gpu: SimulatedGpu, engines: list[Path], bundle: Bundle, photo: Any
) -> None:
    for path in (bundle.path / "engines").glob("restorer-*.engine"):
        if path not in engines:
            path.unlink()
            path.with_suffix(".json").unlink()
    restorer = Restorer(bundle, open_tensorrt(bundle, "tensorrt-rtx", gpu))
    pixels = np.ascontiguousarray(photo[:20, :20])
    restored_alike(restorer, pixels, RAINY)
    with pytest.raises(BackendError, match=r"wanted snow=0\.5, rain=0\.5.*--routes any"):
        restored_alike(restorer, pixels, MIXED)
    shown = examine(bundle.path)["engines"]
    assert sorted(row["serves"] for row in shown) == ["rain", "raindrop", "router", "snow"]


def test_engines_are_loaded_by_one_thread_on_its_gpu(
    rtx: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in refuses to load in a thread that has not made the GPU its own."""
    backend = open_tensorrt(bundle, "tensorrt-rtx", gpu)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: backend.load_router(), range(3)))
    assert rtx.loaded.count("router.onnx") == 1
    owned: list[bool] = []
    lock: Any = vars(backend)["_lock"]
    monkeypatch.setattr(EngineBranch, "load", lambda branch: owned.append(lock._is_owned()))
    backend.load_router()
    assert owned == [True]


def test_the_same_picture_is_always_cut_alike(
    rtx: FakeTensorRT, gpu: SimulatedGpu, with_kernels: Bundle, photo: Any
) -> None:
    """What is kept for other pictures would go for it, and the router's place is reserved."""
    most = 320
    add_engine(with_kernels, "restorer", most=most)
    restorer = Restorer(with_kernels, open_tensorrt(with_kernels, "tensorrt-rtx", gpu))
    free = [restorer.backend.free_memory()]
    for size in (16, 48, 90, 16):
        restorer.restore(np.ascontiguousarray(photo[:size, :size]))
        free.append(restorer.backend.free_memory())
    assert len(set(free)) == 1
    a_pixel = restorer.backend.bytes_a_pixel()
    assert a_pixel == FakeEngine.device_memory_size_v2 / most**2 + 40
    model = with_kernels.manifest.model
    gpu.memory -= free[0] - int(2.1 * a_pixel * most**2)
    assert first_tile("auto", (most, most), model, restorer.backend) is None
    gpu.memory -= int(0.2 * a_pixel * most**2)
    assert first_tile("auto", (most, most), model, restorer.backend) is not None


def test_a_context_that_is_not_capturable(
    rtx: FakeTensorRT, gpu: SimulatedGpu, with_kernels: Bundle, photo: Any
) -> None:
    rtx.is_capturable = False
    restorer = Restorer(with_kernels, open_tensorrt(with_kernels, "tensorrt-rtx", gpu))
    for _ in range(3):
        restorer.restore(np.ascontiguousarray(photo[:20, :20]))
    assert gpu.captures == 0


def test_a_damaged_engine(rtx: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle) -> None:
    path = next((bundle.path / "engines").glob("restorer-*.engine"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(BundleError, match="wanted the engine as it was built"):
        open_tensorrt(bundle, "tensorrt-rtx", gpu)
    path.write_bytes(content[:-1])
    with pytest.raises(BackendError, match=r"for the restorer fits.*lorair-export engine"):
        open_tensorrt(bundle, "tensorrt-rtx", gpu)


def test_an_engine_that_the_library_refuses(
    rtx: FakeTensorRT, gpu: SimulatedGpu, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorair.runtime.bundle.engines.Engine.read", lambda engine: b"foreign")
    with pytest.raises(BundleError, match="found magic tag does not match; build it again"):
        open_tensorrt(bundle, "tensorrt-rtx", gpu)


def test_auto_says_why_an_engine_is_not_used(
    bundle: Bundle, gpu: SimulatedGpu, rtx: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer.open(bundle.path)
    assert restorer.backend.name == "openvino"
    assert "tensorrt-rtx is not used: there is no NVIDIA driver" in backend_note(restorer)
    # With a GPU, but another version of the library than the engines'.
    driver = DriverInfo("13.0", (gpu.info,))
    for module in ("driver", "engine_fit"):
        monkeypatch.setattr(f"lorair.runtime.gpu.{module}.examine", lambda: driver)
    monkeypatch.setattr("lorair.runtime.gpu.engine_fit.version", lambda name: "1.8.0")
    restorer = Restorer.open(bundle.path)
    assert restorer.backend.name == "openvino"
    assert "built with tensorrt-rtx 1.7.1, here is 1.8.0" in backend_note(restorer)
    assert f"`lorair-export engine {bundle.path} --flavour tensorrt-rtx`" in backend_note(restorer)
    # Everything fits, but an engine's content is damaged.
    monkeypatch.setattr("lorair.runtime.gpu.engine_fit.version", lambda name: VERSION)
    monkeypatch.setattr(backend_module, "Gpu", lambda: gpu)
    assert Restorer.open(bundle.path).backend.name == "tensorrt-rtx"
    path = next((bundle.path / "engines").glob("restorer-*.engine"))
    path.write_bytes(bytes(len(path.read_bytes())))
    restorer = Restorer.open(bundle.path)
    assert restorer.backend.name == "openvino"
    assert "wanted the engine as it was built, found other content" in backend_note(restorer)


def test_misfits() -> None:
    shape = Range(min=(1,), opt=(1,), max=(1,))
    depends = Depends(
        branch="router", graph="0" * 64, weights="0" * 64, bodies=None, precision="fp16",
        flavour="tensorrt-rtx", version=VERSION, recipe=1, profile={"views": shape},
    )  # fmt: skip
    ada = GpuInfo("Ada", 89, 1)
    assert misfit(depends, VERSION, ada) is None
    assert misfit(depends, "1.8", ada) == "it was built with tensorrt-rtx 1.7.1, here is 1.8"
    hopper = replace(ada, sm=90)
    assert str(misfit(depends, VERSION, hopper)).endswith("or 12.1, this GPU has 9.0")
    plugged = depends.model_copy(update={"kernels": "0" * 64})
    assert "has plugins" in str(misfit(plugged, VERSION, ada))
    assert misfit(plugged, VERSION, ada, plugins=True) is None
    one = depends.model_copy(update={"sms": (86, 120)})
    assert misfit(one, VERSION, ada) == (
        "it is for compute capability 8.6 or 12.0, this GPU has 8.9"
    )
    here = depends.model_copy(update={"flavour": "tensorrt", "device": hopper.target})
    assert misfit(here, VERSION, hopper) is None
    assert str(misfit(here, VERSION, ada)).startswith("it was built on and for Ada, compute cap")


def test_the_stand_in_has_the_library_s_names() -> None:
    real = pytest.importorskip(MODULES["tensorrt-rtx"])
    for name in ("ILogger", "TensorIOMode", "IRuntimeCache", "Runtime"):
        assert hasattr(real, name)
    assert hasattr(real.ExecutionContextAllocationStrategy, "USER_MANAGED")
    assert hasattr(real.DynamicShapesKernelSpecializationStrategy, "EAGER")
    config = real.IRuntimeConfig
    for owner, names in {
        real.ILogger: ("ERROR", "INTERNAL_ERROR"),
        real.Runtime: ("deserialize_cuda_engine",),
        real.ICudaEngine: (
            "device_memory_size_v2",
            "num_io_tensors",
            "get_tensor_name",
            "get_tensor_mode",
            "create_runtime_config",
            "create_execution_context",
        ),
        config: (
            "set_execution_context_allocation_strategy",
            "dynamic_shapes_kernel_specialization_strategy",
            "create_runtime_cache",
            "set_runtime_cache",
        ),
        real.IRuntimeCache: ("serialize", "deserialize"),
        real.IExecutionContext: (
            "set_input_shape",
            "set_tensor_address",
            "update_device_memory_size_for_shapes",
            "set_device_memory",
            "execute_async_v3",
            "is_stream_capturable",
        ),
    }.items():
        for name in names:
            assert hasattr(owner, name), f"{owner}.{name}"
