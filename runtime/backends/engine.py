"""An engine of TensorRT or TensorRT-RTX: its file, on the GPU, with places for a picture."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorair.runtime.bundle.engines import Engine
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.bundle.plugins import find_plugin
from lorair.runtime.errors import BundleError, InternalError, LorairError
from lorair.runtime.gpu.cuda import Gpu, Memory
from lorair.runtime.gpu.memory import Scratch
from lorair.runtime.gpu.network import Tensor
from lorair.runtime.system.atomic import atomic_file

_CACHE: Final = ".runtime-cache"


@dataclass(frozen=True)
class Loader:
    """What turns an engine's file into networks, the same for all of a bundle.

    library: the module. runtime: with a registry of plugins of its own, so those of several
    bundles do not meet. log: what it says.
    """

    bundle: Bundle
    library: Any
    runtime: Any
    gpu: Gpu
    scratch: Scratch
    log: Any

    def load(self, engine: Engine) -> Any:
        """Return an `ICudaEngine`. Raises BundleError."""
        content = engine.read()
        assert engine.record is not None
        kernels = engine.record.depends.kernels
        if kernels is not None:
            # The plugins that the engine carries inside; those beside it need no permission.
            self.runtime.engine_host_code_allowed = True
        made = self.runtime.deserialize_cuda_engine(content)
        if made is None and kernels is not None:
            self._load_plugins(kernels)
            made = self.runtime.deserialize_cuda_engine(content)
        if made is None:
            raise BundleError(
                f"the engine {engine.path} does not load",
                found=self.log.last,
                hint="build it again with `lorair-export engine`",
            )
        return made

    def _load_plugins(self, kernels: str) -> None:
        """Load the library beside the engines. Raises BundleError."""
        major = int(self.library.__version__.partition(".")[0])
        path = find_plugin(self.bundle, major, kernels)
        # A library that is registered already is refused: then this is no error.
        self.runtime.get_plugin_registry().load_library(str(path))


class EngineBranch:
    """An engine, on the GPU from its first use until nothing is bound to it any more.

    engine: its file. size: of its weights, about.
    """

    def __init__(self, engine: Engine, loader: Loader) -> None:
        self.engine, self._loader = engine, loader
        assert engine.record is not None
        self.size = engine.record.size
        self._loaded: Any = None
        self._bound = 0
        library = loader.library
        cache = engine.path.with_suffix(_CACHE)
        self._cache = _RuntimeCache(cache) if hasattr(library, "IRuntimeCache") else None

    @property
    def is_loaded(self) -> bool:
        """Whether it is on the GPU."""
        return self._loaded is not None

    @property
    def is_idle(self) -> bool:
        """Whether it is on the GPU and nothing is bound to it."""
        return self.is_loaded and not self._bound

    def unload(self) -> None:
        """Take it off the GPU."""
        self._loaded = None

    def load(self) -> None:
        """Put it on the GPU, unless it is there. Raises BundleError if it is damaged."""
        if self._loaded is None:
            self._loaded = self._loader.load(self.engine)

    @property
    def workspace(self) -> int:
        """Bytes that the largest picture needs while it is restored."""
        return int(self._loaded.device_memory_size_v2)

    def bind(self, tensors: Mapping[str, Tensor]) -> "EngineRun":
        """An execution context of its own for these shapes."""
        self.load()
        engine, log = self._loaded, self._loader.log
        context = self._context()
        if context is None:
            raise InternalError("no execution context", found=log.last)
        mode = self._loader.library.TensorIOMode.INPUT
        names = map(engine.get_tensor_name, range(engine.num_io_tensors))
        for name in names:
            tensor = tensors[name]
            done = context.set_tensor_address(name, tensor.address)
            if engine.get_tensor_mode(name) == mode:
                done = done and context.set_input_shape(name, tensor.shape)
            if not done:
                raise InternalError(f"the engine does not take its {name}", found=log.last)
        needs = max(context.update_device_memory_size_for_shapes(), 1)
        self._loader.scratch.reserve(needs)
        self._bound += 1
        return EngineRun(context, needs, self, self._loader, self._cache)

    def release(self) -> None:
        """Take it off the GPU if this was the last that was bound."""
        self._bound -= 1
        if not self._bound:
            self.unload()

    def _context(self) -> Any:
        strategy = self._loader.library.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cache is None:
            return self._loaded.create_execution_context(strategy)
        config = self._loaded.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        # Lazily compiled kernels would come after the graph's capture, and never be used.
        kinds = self._loader.library.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
        config.set_runtime_cache(self._cache.open(config))
        return self._loaded.create_execution_context(config)


class EngineRun:
    """An execution context with its addresses set. What it computes in is everybody's."""

    size = 0

    def __init__(
        self,
        context: Any,
        needs: int,
        branch: EngineBranch,
        loader: Loader,
        cache: "_RuntimeCache | None",
    ) -> None:
        self._context, self._needs, self._branch = context, needs, branch
        self._loader, self._cache = loader, cache
        self._memory: Memory | None = None

    @property
    def capturable(self) -> bool:
        """As `Bound` says; TensorRT-RTX knows, TensorRT's engines always are."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._loader.gpu.stream))

    def prepare(self) -> int:
        """As `Bound` says."""
        memory = self._loader.scratch.reserve(self._needs)
        if memory is not self._memory:
            self._context.set_device_memory(memory.address, memory.size)
            self._memory = memory
        return self._loader.scratch.moves

    def enqueue(self) -> None:
        """As `Bound` says."""
        if not self._context.execute_async_v3(self._loader.gpu.stream):
            raise InternalError("the engine failed", found=self._loader.log.last)
        if self._cache is not None:
            self._cache.save()
            self._cache = None  # all is compiled now, and a capture must not write files

    def close(self) -> None:
        """As `Bound` says."""
        self._context = None
        self._branch.release()


class _RuntimeCache:
    """TensorRT-RTX's compiled kernels, kept beside the engine so that the next start is fast."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cache: Any = None
        self._saved = 0

    def open(self, config: Any) -> Any:
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            with suppress(OSError):
                content = self._path.read_bytes()
                if self._cache.deserialize(content):
                    self._saved = len(content)
        return self._cache

    def save(self) -> None:
        """Write it if it has grown; a bundle that cannot be written to does without."""
        content = bytes(self._cache.serialize())
        if len(content) > self._saved:
            with suppress(OSError, LorairError), atomic_file(self._path) as partial:
                partial.write_bytes(content)
            self._saved = len(content)


def make_log(library: Any) -> Any:
    """Return a logger that keeps the last error; its base class comes with the library."""
    base = library.ILogger

    def log(self: Any, severity: Any, message: str) -> None:
        if severity in (base.ERROR, base.INTERNAL_ERROR):
            self.last = message

    return type("Log", (base,), {"log": log, "last": "nothing was said"})()
