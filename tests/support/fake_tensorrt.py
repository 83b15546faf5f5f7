"""As much of TensorRT's Python module as the runtime uses, over the tests' driver.

An "engine" is a line of text that names an ONNX graph; ONNX Runtime runs it. A second line
says which kernels its plugins launch, and whether they are inside. Calls that
TensorRT would refuse are refused. That the names are TensorRT's own is tested against the
real module.
"""

import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
from cuda_driver import Driver, run_session

from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.network import Tensor

INPUTS = {"views", "image", "prior", "gates"}


class ILogger:
    ERROR, INTERNAL_ERROR, INFO = "error", "internal error", "info"

    def __init__(self) -> None:
        pass


class FakeTensorRT:
    """The module; `rtx` is TensorRT-RTX, which has a runtime cache."""

    ILogger = ILogger
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    def __init__(self, driver: Driver, gpu: Gpu, version: str, *, rtx: bool) -> None:
        self.driver, self.gpu, self.__version__ = driver, gpu, version
        self.contexts: list[str] = []
        self.caches: list[FakeCache] = []
        self.loaded: list[str] = []
        self.registries: list[FakeRegistry] = []
        self.is_capturable = True
        if rtx:
            self.IRuntimeCache = FakeCache

    def assert_turn(self) -> None:
        """The GPU is the calling thread's."""
        assert vars(self.gpu)["_lock"]._is_owned()

    def Runtime(self, logger: Any) -> "FakeRuntime":  # noqa: N802
        return FakeRuntime(self, logger)


class FakeRuntime:
    def __init__(self, library: FakeTensorRT, logger: Any) -> None:
        self._library, self._logger = library, logger
        self.engine_host_code_allowed = False
        self._registry = FakeRegistry()
        library.registries.append(self._registry)

    def get_plugin_registry(self) -> "FakeRegistry":
        return self._registry

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        if not content.startswith(b"engine of "):
            self._logger.log("info", "beginning")
            self._logger.log("error", "magic tag does not match")
            return None
        self._library.assert_turn()
        graph, plugins = (line.decode() for line in content.split(b"\n", 2)[:2])
        graph = graph.removeprefix("engine of ")
        inside = plugins.endswith(" inside") and self.engine_host_code_allowed
        if plugins.startswith("plugins of ") and not inside:
            kernels = plugins.split()[2]
            if not any(kernels in library.read_text() for library in self._registry.loaded):
                self._logger.log("error", "no creator of NormLoRAMoEConv")
                return None
        made = FakeEngine(self._library, Path(graph))
        weights = self._library.gpu.allocate(len(content))
        weakref.finalize(made, weights.close).atexit = False
        return made


class FakeRegistry:
    def __init__(self) -> None:
        self.loaded: list[Path] = []

    def load_library(self, plugin_path: str) -> Any:
        assert isinstance(plugin_path, str)
        if Path(plugin_path) in self.loaded:
            return None
        self.loaded.append(Path(plugin_path))
        return object()


class FakeEngine:
    device_memory_size_v2 = 1 << 20

    def __init__(self, library: FakeTensorRT, graph: Path) -> None:
        self.library, self.session = library, onnxruntime.InferenceSession(graph)
        self.names = [v.name for v in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.names)
        library.loaded.append(graph.name)

    def get_tensor_name(self, i: int) -> str:
        return self.names[i]

    def get_tensor_mode(self, name: str) -> str:
        assert name in self.names
        # An output of one engine is an input of the other: the session knows.
        inputs = {value.name for value in self.session.get_inputs()}
        return "input" if name in inputs else "output"

    def create_runtime_config(self) -> "FakeConfig":
        assert hasattr(self.library, "IRuntimeCache")
        return FakeConfig(self.library)

    def create_execution_context(self, how: Any) -> "FakeContext":
        strategy = how.strategy if isinstance(how, FakeConfig) else how
        assert strategy == "user managed"
        context = FakeContext(self, how)
        self.library.contexts.append(self.names[0])  # not itself: it holds the engine
        return context


class FakeConfig:
    dynamic_shapes_kernel_specialization_strategy = "lazy"

    def __init__(self, library: FakeTensorRT) -> None:
        self._library = library
        self.strategy = self.cache = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> "FakeCache":
        self._library.caches.append(FakeCache())
        return self._library.caches[-1]

    def set_runtime_cache(self, cache: Any) -> bool:
        self.cache = cache
        return True


class FakeCache:
    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        self.content = content
        return True

    def serialize(self) -> bytes:
        return self.content


class FakeContext:
    WORKSPACE = 4096

    def __init__(self, engine: FakeEngine, how: Any) -> None:
        self._engine, self.how = engine, how
        self._places: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._memory = 0

    def is_stream_capturable(self, stream: int) -> bool:
        assert stream == self._engine.library.gpu.stream
        return self._engine.library.is_capturable

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return name in self._engine.names

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._places[name] = address
        return name in self._engine.names

    def update_device_memory_size_for_shapes(self) -> int:
        return self.WORKSPACE

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.WORKSPACE
        self._memory = address

    def execute_async_v3(self, stream: int) -> bool:
        library, session = self._engine.library, self._engine.session
        assert stream == library.gpu.stream
        library.assert_turn()
        assert self._memory
        if isinstance(self.how, FakeConfig):
            assert self.how.dynamic_shapes_kernel_specialization_strategy == "eager"
            self.how.cache.content += b"kernels"
        shapes = self._shapes  # of the inputs; outputs have those that the session gives them
        tensors = {n: Tensor(place, shapes.get(n, ())) for n, place in self._places.items()}
        scratch = Tensor(self._memory, (self.WORKSPACE // 4,))
        work = partial(run_session, library.driver, session, tensors, scratch)
        library.driver.enqueue(stream, work)
        return True
