"""TensorRT and TensorRT-RTX: engines of the bundle, on a GPU. One API, two modules."""

import math
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lorair.runtime.backends.gpu import GpuBackend
from lorair.runtime.bundle.engines import Engine, Flavour
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import (
    BundleError,
    DependencyError,
    InternalError,
    LorairError,
    PictureError,
)
from lorair.runtime.gpu.cuda import Gpu, Memory
from lorair.runtime.gpu.driver import no_gpu
from lorair.runtime.gpu.engine_fit import MODULES, area, fitting, image_range, misfit_of, takes
from lorair.runtime.gpu.network import Branch, Tensor
from lorair.runtime.gpu.plan import Size
from lorair.runtime.system.atomic import atomic_file

_CACHE: Final = ".runtime-cache"


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> GpuBackend:
    """Open a bundle's engines of the flavour of that name; threads and jobs are the CPU's."""
    return open_tensorrt(bundle, _flavour(name))


def lacks(name: str) -> str | None:
    """Return why no GPU can be used here; None if one can."""
    return no_gpu()


def unfit(name: str, bundle: Bundle) -> str | None:
    """Return why no engines of a bundle fit here; None if some do."""
    return misfit_of(bundle, _flavour(name))


def _flavour(name: str) -> Flavour:
    return next(flavour for flavour in MODULES if flavour == name)


def open_tensorrt(
    bundle: Bundle, flavour: Flavour, gpu: Gpu | None = None, *, plugins: bool = False
) -> GpuBackend:
    """A backend on the bundle's engines.

    Args:
        bundle: with engines that fit this GPU and library.
        flavour: whose engines.
        gpu: to run on; None for the first, with a stream of its own.
        plugins: whether `kernels.tensorrt.plugin.register` was called: else engines with
            plugins do not fit.

    Raises:
        DependencyError: the library or cuda-core is not installed.
        BackendError: there is no GPU, or no engine fits.
        BundleError: an engine is damaged.
    """
    try:
        library = import_module(MODULES[flavour])
    except (ImportError, OSError) as error:  # installed, but some of its libraries are not
        raise DependencyError(
            "cannot run engines", wanted=f"the package {flavour}", found=str(error)
        ) from error
    gpu = gpu or Gpu()
    networks = EngineNetworks(library, flavour, bundle, gpu, plugins=plugins)
    return GpuBackend(flavour, f"{flavour} {library.__version__}", bundle, gpu, networks)


class EngineNetworks:
    """The bundle's engines of one flavour that fit here, each loaded when it is needed.

    The router's and the most capable restorer's are read at once: a damaged engine should
    show before the first picture.
    """

    def __init__(
        self, library: Any, flavour: Flavour, bundle: Bundle, gpu: Gpu, *, plugins: bool
    ) -> None:
        self._gpu, self._bundle, self._flavour = gpu, bundle, flavour
        found = fitting(bundle, flavour, library.__version__, gpu.info, plugins=plugins)
        self._log = _log(library)
        self._runtime = library.Runtime(self._log)
        self._library = library
        self._restorers = sorted(found["restorer"], key=area)
        self._router = found["router"][0]
        self._loaded: dict[Path, EngineBranch] = {}
        self._load(self._restorers[-1])

    def router(self) -> Branch:
        """As `Networks` says."""
        return self._load(self._router)

    def restorer(self, size: Size) -> Branch:
        """The engine with the least reach of those that take the size."""
        for engine in self._restorers:
            if takes(engine, *size):
                return self._load(engine)
        height, width = size
        least, most = _reach(self._restorers)
        raise PictureError(
            f"no engine in {self._bundle.path} takes a picture of {width}x{height} pixels",
            wanted=f"{least} to {most} (height x width)",
            found=f"{height}x{width} with its padding",
            hint=f"build one with `lorair-export engine {self._bundle.path} "
            f"--flavour {self._flavour} --max {height}x{width}`, or restore it in tiles",
        )

    def largest(self) -> Size:
        """As `Networks` says."""
        _, _, height, width = max((image_range(e).max for e in self._restorers), key=math.prod)
        return height, width

    def _load(self, engine: Engine) -> "EngineBranch":
        if engine.path not in self._loaded:
            content = engine.read()
            made = self._runtime.deserialize_cuda_engine(content)
            if made is None:
                raise BundleError(
                    f"{self._flavour} does not load the engine {engine.path}",
                    found=self._log.last,
                    hint="build it again with `lorair-export engine`",
                )
            self._loaded[engine.path] = EngineBranch(
                self._library, made, self._gpu, engine.path.with_suffix(_CACHE), self._log
            )
        return self._loaded[engine.path]


class EngineBranch:
    """An engine, loaded.

    Args:
        library: the module.
        engine: an `ICudaEngine`.
        gpu: that it is on.
        cache: file in which TensorRT-RTX keeps the kernels that it compiles here.
        log: what the library says.
    """

    capturable = True

    def __init__(self, library: Any, engine: Any, gpu: Gpu, cache: Path, log: Any) -> None:
        self._library, self._engine, self._gpu, self._log = library, engine, gpu, log
        self._cache = _RuntimeCache(cache) if hasattr(library, "IRuntimeCache") else None

    def bind(self, tensors: Mapping[str, Tensor]) -> "EngineRun":
        """An execution context of its own, its memory sized for these shapes."""
        context = self._context()
        if context is None:
            raise InternalError("no execution context", found=self._log.last)
        mode = self._library.TensorIOMode.INPUT
        done = all(
            context.set_input_shape(name, tensor.shape)
            for name, tensor in tensors.items()
            if self._engine.get_tensor_mode(name) == mode
        )
        done = done and all(context.set_tensor_address(n, t.address) for n, t in tensors.items())
        if not done:
            raise InternalError("the engine does not take its tensors", found=self._log.last)
        size = context.update_device_memory_size_for_shapes()
        memory = self._gpu.allocate(max(size, 1))
        context.set_device_memory(memory.address, memory.size)
        return EngineRun(context, memory, self._gpu, self._cache, self._log)

    def _context(self) -> Any:
        strategy = self._library.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cache is None:
            return self._engine.create_execution_context(strategy)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        # Lazily compiled kernels would come after the graph's capture, and never be used.
        kinds = self._library.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
        config.set_runtime_cache(self._cache.open(config))
        return self._engine.create_execution_context(config)


class EngineRun:
    """An execution context with its addresses set."""

    def __init__(
        self, context: Any, memory: Memory, gpu: Gpu, cache: "_RuntimeCache | None", log: Any
    ) -> None:
        self._context, self._memory, self._gpu = context, memory, gpu
        self._cache, self._log = cache, log
        self.size = memory.size

    def enqueue(self) -> None:
        """As `Bound` says."""
        if not self._context.execute_async_v3(self._gpu.stream):
            raise InternalError("the engine failed", found=self._log.last)
        if self._cache is not None:
            self._cache.save()
            self._cache = None  # all is compiled now, and a capture must not write files

    def close(self) -> None:
        """As `Bound` says."""
        self._context = None
        self._memory.close()


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


def _reach(engines: list[Engine]) -> tuple[str, str]:
    """The least and the largest picture that engines take, for people."""
    least = min((image_range(engine).min for engine in engines), key=math.prod)
    most = max((image_range(engine).max for engine in engines), key=math.prod)
    return f"{least[2]}x{least[3]}", f"{most[2]}x{most[3]}"


def _log(library: Any) -> Any:
    """A logger that keeps the last error; its base class comes with the library."""

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.last = "nothing was said"

        def log(self, severity: Any, message: str) -> None:
            if severity in (self.ERROR, self.INTERNAL_ERROR):
                self.last = message

    return Log()
