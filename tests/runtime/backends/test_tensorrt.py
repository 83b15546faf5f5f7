"""The TensorRT backend over a stand-in for the library, on the driver of the tests."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cuda_driver import NO_DEVICE, Driver, write_kernels
from engine_files import VERSION, WEIGHTS, add_engine, depends_on
from fake_tensorrt import FakeEngine, FakeTensorRT

from lorair import Restorer
from lorair.exporter.graphs.merged import merged
from lorair.runtime.backends import gpu as backend_gpu
from lorair.runtime.backends import select
from lorair.runtime.backends import tensorrt as backend_module
from lorair.runtime.backends.tensorrt import open_tensorrt
from lorair.runtime.bundle.engines import GRAPHS, Flavour
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.commands.options import backend_note
from lorair.runtime.doctor import examine
from lorair.runtime.errors import BackendError, BundleError, PictureError
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.driver import GpuInfo
from lorair.runtime.gpu.engine_fit import MODULES, misfit
from lorair.runtime.tiles import first_tile

RTX: Flavour = "tensorrt-rtx"
RAIN = np.array([0, 1, 0], np.float32)


@pytest.fixture
def bundle(bundle: Bundle) -> Bundle:
    for branch in GRAPHS:
        add_engine(bundle, branch)
    return bundle


@pytest.fixture
def gpu(driver: Driver) -> Gpu:
    return Gpu()


@pytest.fixture
def library(
    request: pytest.FixtureRequest, driver: Driver, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> FakeTensorRT:
    """TensorRT-RTX, or TensorRT where the test is parametrised so."""
    made = FakeTensorRT(driver, gpu, VERSION, rtx=getattr(request, "param", RTX) == RTX)
    monkeypatch.setattr(backend_module, "import_module", lambda name: made)
    return made


Open = Callable[[], Restorer]


@pytest.fixture
def opened(library: FakeTensorRT, gpu: Gpu, bundle: Bundle) -> Open:
    """Opens the bundle on its engines of TensorRT-RTX."""
    return lambda: Restorer(bundle, open_tensorrt(bundle, RTX, gpu))


@pytest.fixture
def with_kernels(bundle: Bundle) -> Bundle:
    write_kernels(bundle.path / KERNELS)
    return bundle


def test_the_whole_walk(opened: Open, driver: Driver, with_kernels: Bundle, photo: Any) -> None:
    pixels = np.ascontiguousarray(photo[:41, :60])
    wanted = Restorer(with_kernels, select("onnxruntime", with_kernels)).restore(pixels)
    restorer = opened()
    assert "the whole walk on a GPU of the tests" in restorer.backend.description
    for _ in range(3):
        found = restorer.restore(pixels)
        assert (found.image == wanted.image).mean() > 0.999
        np.testing.assert_allclose(found.route.prior, wanted.route.prior, atol=1e-5)
        assert set(found.seconds) == {"walk"}
    assert driver.captures == 2
    # 16-bit pictures take the host's ends.
    deep = restorer.restore(pixels.astype(np.uint16) * 257)
    assert deep.image.dtype == np.uint16
    assert np.abs(deep.image / 257 - wanted.image).max() <= 1


@pytest.mark.parametrize("library", MODULES, indirect=True)
def test_without_kernels_the_host_prepares_pictures(
    library: FakeTensorRT, driver: Driver, gpu: Gpu, bundle: Bundle, photo: Any
) -> None:
    flavour: Flavour = RTX if hasattr(library, "IRuntimeCache") else "tensorrt"
    if flavour == "tensorrt":
        for branch in GRAPHS:
            add_engine(bundle, branch, flavour="tensorrt", device=gpu.info.target)
    restorer = Restorer(bundle, open_tensorrt(bundle, flavour, gpu))
    assert restorer.backend.walk is None
    for height in (41, 41, 20):
        pixels = np.ascontiguousarray(photo[:height, :60])
        wanted = Restorer.open(bundle.path, "onnxruntime").restore(pixels).image
        assert (restorer.restore(pixels).image == wanted).mean() > 0.999
    # One context for the router, one for each size, which are kept.
    assert len(library.contexts) == 3
    held = driver.used
    restorer.restore(np.ascontiguousarray(photo[:20, :60]))
    assert (driver.used, len(library.contexts)) == (held, 3)


def test_what_rtx_compiles_is_kept(
    opened: Open, library: FakeTensorRT, bundle: Bundle, photo: Any
) -> None:
    pixels = np.ascontiguousarray(photo[:20, :20])
    opened().restore(pixels)
    kept = sorted((bundle.path / "engines").glob("*.runtime-cache"))
    assert [path.read_bytes() for path in kept] == [b"kernels", b"kernels"]
    library.caches.clear()
    opened().restore(pixels)
    assert all(cache.content.startswith(b"kernels") for cache in library.caches)
    Bundle.open(bundle.path)  # still a whole bundle


def test_the_engine_with_the_least_reach_is_taken(opened: Open, gpu: Gpu, bundle: Bundle) -> None:
    add_engine(bundle, "restorer", most=320)
    networks = vars(opened().backend)["_networks"]
    with gpu.turn():
        small, large = (networks.restorer(size, RAIN) for size in ((96, 96), (112, 96)))
        assert small is not large
        assert networks.restorer((16, 16), RAIN) is small


def test_a_picture_beyond_the_engine_s_reach(opened: Open, photo: Any) -> None:
    with pytest.raises(PictureError, match=r"wanted 16x16 to 96x96.*--max 208x304"):
        opened().restore(photo)


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


WANTED: dict[Any, Any] = {}
"""Of the photo's corners, by gates and size: every bundle here has the same networks."""


def restored_alike(restorer: Restorer, pixels: Any, gates: list[float]) -> None:
    """As ONNX Runtime restores it under these gates."""
    key = *gates, *pixels.shape
    if key not in WANTED:
        plain = Restorer(restorer.bundle, select("onnxruntime", restorer.bundle))
        route = plain.route(pixels).with_gates(np.array(gates, np.float32))
        WANTED[key] = route, plain.restore(pixels, route).image
    route, wanted = WANTED[key]
    assert (restorer.restore(pixels, route).image == wanted).mean() > 0.999


SNOWY, RAINY, DROPS, MIXED = [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]


@pytest.mark.parametrize("walk", [True, False])
def test_the_gates_choose_the_engine(
    walk: bool,
    opened: Open,
    library: FakeTensorRT,
    engines: list[Path],
    photo: Any,
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue("with_kernels" if walk else "bundle")
    restorer = opened()
    assert (restorer.backend.walk is not None) == walk
    pixels = np.ascontiguousarray(photo[:41, :60])
    loads: list[list[str]] = []
    for gates in (SNOWY, RAINY, MIXED, DROPS, RAINY, MIXED, SNOWY):
        before = len(library.loaded)
        restored_alike(restorer, pixels, gates)
        loads.append(library.loaded[before:])
    # Each when it is first needed, and once; another was tried at the beginning.
    names = ["0.onnx", "1.onnx", "2.onnx", "restorer.onnx"]
    assert loads[4:] == [[], [], []]
    once = sorted(name for load in loads for name in load)
    assert once in (names, names[1:]), "the first may be needed at once"
    # The router's own choice is one expert, and takes its engine.
    route = restorer.route(pixels)
    restored_alike(restorer, pixels, [float(g) for g in route.gates])
    assert restorer.restore(pixels).route.gates.tolist() == route.gates.tolist()
    assert {*library.loaded} - {"router.onnx"} == {*names}


def test_the_least_recently_used_engine_goes(
    opened: Open,
    library: FakeTensorRT,
    driver: Driver,
    engines: list[Path],
    with_kernels: Bundle,
    photo: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = np.ascontiguousarray(photo[:16, :16])
    blocks = 100_000  # a plan of that size
    monkeypatch.setattr(backend_gpu, "_SHARE", (2.5 * WEIGHTS + blocks) / driver.memory)
    restorer = opened()
    for gates in (SNOWY, RAINY, SNOWY, DROPS, SNOWY):
        restored_alike(restorer, pixels, gates)
    first, *later = library.loaded  # the first is tried when the bundle is opened
    assert later in (["0.onnx", "1.onnx", "2.onnx"], ["1.onnx", "2.onnx"])
    held = driver.used
    restored_alike(restorer, pixels, RAINY)  # it went, for the third
    assert library.loaded == [first, *later, "1.onnx"]
    assert driver.used == held, "and another went for it"


def test_a_damaged_engine_gives_way_to_the_next_form(
    opened: Open,
    library: FakeTensorRT,
    engines: list[Path],
    photo: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pixels = np.ascontiguousarray(photo[:20, :20])
    restorer = opened()
    loaded = library.loaded[0]
    other = DROPS if loaded != "2.onnx" else RAINY
    path = engines[other.index(1)]
    path.write_bytes(bytes(path.stat().st_size))
    for _ in range(2):
        restored_alike(restorer, pixels, other)
    assert "restorer.onnx" in library.loaded
    (message,) = [record.message for record in caplog.records]
    assert path.name in message
    assert "wanted the engine as it was built" in message


def test_without_an_engine_for_any_route(
    opened: Open,
    library: FakeTensorRT,
    gpu: Gpu,
    engines: list[Path],
    bundle: Bundle,
    photo: Any,
) -> None:
    for path in (bundle.path / "engines").glob("restorer-*.engine"):
        if path not in engines:
            path.unlink()
            path.with_suffix(".json").unlink()
    restorer = opened()
    pixels = np.ascontiguousarray(photo[:20, :20])
    restored_alike(restorer, pixels, RAINY)
    with pytest.raises(BackendError, match=r"wanted snow=0\.5, rain=0\.5.*--routes any"):
        restored_alike(restorer, pixels, MIXED)
    shown = examine(bundle.path)["engines"]
    assert sorted(row["serves"] for row in shown) == ["rain", "raindrop", "router", "snow"]


@pytest.mark.parametrize("walk", [True, False])
def test_engines_are_loaded_by_one_thread_on_its_gpu(
    walk: bool, opened: Open, library: FakeTensorRT, photo: Any, request: pytest.FixtureRequest
) -> None:
    """The stand-in refuses to load or run in a thread whose turn it is not."""
    request.getfixturevalue("with_kernels" if walk else "bundle")
    backend = opened().backend
    pixels = np.ascontiguousarray(photo[:20, :20])
    work: Any = partial(backend.walk.restore, pixels) if backend.walk else backend.load_router
    assert (backend.walk is not None) == walk
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work) for _ in range(3)]:
            done.result()
    assert library.loaded.count("router.onnx") == 1


def test_the_same_picture_is_always_cut_alike(
    opened: Open, driver: Driver, with_kernels: Bundle, photo: Any
) -> None:
    """What is kept for other pictures would go for it, and the router's place is reserved."""
    most = 320
    add_engine(with_kernels, "restorer", most=most)
    restorer = opened()
    free = [restorer.backend.free_memory()]
    for size in (16, 48, 90, 16):
        restorer.restore(np.ascontiguousarray(photo[:size, :size]))
        free.append(restorer.backend.free_memory())
    assert len(set(free)) == 1
    a_pixel = restorer.backend.bytes_a_pixel()
    assert a_pixel == FakeEngine.device_memory_size_v2 / most**2 + 40
    model = with_kernels.manifest.model
    driver.memory -= free[0] - int(2.1 * a_pixel * most**2)
    assert first_tile("auto", (most, most), model, restorer.backend) is None
    driver.memory -= int(0.2 * a_pixel * most**2)
    assert first_tile("auto", (most, most), model, restorer.backend) is not None


def test_a_context_that_is_not_capturable(
    opened: Open, library: FakeTensorRT, driver: Driver, with_kernels: Bundle, photo: Any
) -> None:
    library.is_capturable = False
    restorer = opened()
    for _ in range(3):
        restorer.restore(np.ascontiguousarray(photo[:20, :20]))
    assert driver.captures == 0


def test_engines_that_cannot_be_loaded(
    opened: Open, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lorair.runtime.bundle.engines.Engine.read", lambda engine: b"foreign")
        with pytest.raises(BundleError, match="found magic tag does not match; build it again"):
            opened()
    path = next((bundle.path / "engines").glob("restorer-*.engine"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(BundleError, match="wanted the engine as it was built"):
        opened()
    path.write_bytes(content[:-1])
    with pytest.raises(BackendError, match=r"for the restorer fits.*lorair-export engine"):
        opened()


@pytest.mark.usefixtures("library")
def test_auto_says_why_an_engine_is_not_used(
    bundle: Bundle, driver: Driver, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passed_over() -> str:
        restorer = Restorer.open(bundle.path)
        assert restorer.backend.name == "openvino"
        return backend_note(restorer)

    driver.fail("cuInit", code=NO_DEVICE)
    assert "tensorrt-rtx is not used: the NVIDIA driver sees no GPU" in passed_over()
    # With a GPU, but another version of the library than the engines'.
    driver.ask_again()
    monkeypatch.setattr("lorair.runtime.gpu.engine_fit.version", lambda name: "1.8.0")
    note = passed_over()
    assert "built with tensorrt-rtx 1.7.1, here is 1.8.0" in note
    assert f"`lorair-export engine {bundle.path} --flavour tensorrt-rtx`" in note
    # Everything fits, but an engine's content is damaged.
    monkeypatch.setattr("lorair.runtime.gpu.engine_fit.version", lambda name: VERSION)
    monkeypatch.setattr(backend_module, "Gpu", lambda: gpu)
    assert Restorer.open(bundle.path).backend.name == RTX
    path = next((bundle.path / "engines").glob("restorer-*.engine"))
    path.write_bytes(bytes(len(path.read_bytes())))
    assert "wanted the engine as it was built, found other content" in passed_over()


def test_misfits(bundle: Bundle) -> None:
    depends = depends_on(bundle, "router")
    ada = GpuInfo("Ada", 89, 1)
    assert misfit(depends, VERSION, ada) is None
    assert misfit(depends, "1.8", ada) == "it was built with tensorrt-rtx 1.7.1, here is 1.8"
    hopper = replace(ada, sm=90)
    assert str(misfit(depends, VERSION, hopper)).endswith("or 12.1, this GPU has 9.0")
    plugged = depends.model_copy(update={"kernels": "0" * 64})
    assert misfit(plugged, VERSION, ada) is None, "a library may be inside"
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
    for owner, names in {
        real.ILogger: "ERROR INTERNAL_ERROR",
        real.Runtime: "deserialize_cuda_engine",
        real.ICudaEngine: "device_memory_size_v2 num_io_tensors get_tensor_name get_tensor_mode "
        "create_runtime_config create_execution_context",
        real.IRuntimeConfig: "set_execution_context_allocation_strategy create_runtime_cache "
        "dynamic_shapes_kernel_specialization_strategy set_runtime_cache",
        real.IRuntimeCache: "serialize deserialize",
        real.IExecutionContext: "set_input_shape set_tensor_address set_device_memory "
        "update_device_memory_size_for_shapes execute_async_v3 is_stream_capturable",
    }.items():
        for name in names.split():
            assert hasattr(owner, name), f"{owner}.{name}"
