"""TensorRT and TensorRT-RTX: engines of the bundle, on a GPU. One API, two modules."""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lorair.runtime.backends.gpu import GpuBackend
from lorair.runtime.bundle.engines import Depends, Engine, Flavour
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import (
    BackendError,
    BundleError,
    DependencyError,
    InternalError,
    LorairError,
    PictureError,
)
from lorair.runtime.gpu.cuda import Gpu, Memory
from lorair.runtime.gpu.driver import no_gpu
from lorair.runtime.gpu.engine_fit import MODULES, area, fitting, image_range, misfit_of, takes
from lorair.runtime.gpu.memory import Scratch
from lorair.runtime.gpu.network import Branch, Tensor
from lorair.runtime.gpu.plan import Size
from lorair.runtime.pixels import Array
from lorair.runtime.system.atomic import atomic_file

_CACHE: Final = ".runtime-cache"
_ENDS: Final = 40
"""Bytes a pixel beside the network's: the picture and its planes, up and down."""

_logger = logging.getLogger(__name__)


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

    For a picture's gates the first form that serves them is taken: an engine with just these
    gates merged, else one with plugins, else one that merges as it runs; of one form, the one
    with the least reach. A damaged engine is passed over, and the log says so.

    One restorer is loaded at once: damage should show before the first picture.
    """

    def __init__(
        self, library: Any, flavour: Flavour, bundle: Bundle, gpu: Gpu, *, plugins: bool
    ) -> None:
        self._bundle, self._flavour = bundle, flavour
        found = fitting(bundle, flavour, library.__version__, gpu.info, plugins=plugins)
        self.scratch = Scratch(gpu)
        log = _log(library)
        loader = _Loader(library, library.Runtime(log), gpu, self.scratch, log)
        engines = sorted(found["restorer"], key=lambda engine: (_form(engine), area(engine)))
        self._restorers = [EngineBranch(engine, loader) for engine in engines]
        self._router = EngineBranch(found["router"][0], loader)
        gpu.activate()
        first = self._first_that_loads(sorted(self._restorers, key=lambda b: -area(b.engine)))
        self._bytes_a_pixel = first.workspace / area(first.engine) + _ENDS

    def router(self) -> Branch:
        """As `Networks` says."""
        self._router.load()
        return self._router

    def restorer(self, size: Size, gates: Array) -> Branch:
        """As `Networks` says."""
        serving = [branch for branch in self._restorers if _serves(branch.engine, gates)]
        if not serving:
            raise self._no_engine_for(gates)
        fitting = [branch for branch in serving if takes(branch.engine, *size)]
        if fitting:
            return self._first_that_loads(fitting)
        height, width = size
        least, most = _reach([branch.engine for branch in serving])
        raise PictureError(
            f"no engine in {self._bundle.path} takes a picture of {width}x{height} pixels",
            wanted=f"{least} to {most} (height x width)",
            found=f"{height}x{width} with its padding",
            hint=f"build one with `lorair-export engine {self._bundle.path} "
            f"--flavour {self._flavour} --max {height}x{width}`, or restore it in tiles",
        )

    def largest(self) -> Size | None:
        """As `Networks` says."""
        _, _, height, width = max(
            (image_range(branch.engine).max for branch in self._restorers), key=math.prod
        )
        return height, width

    def bytes_a_pixel(self) -> float:
        """As `Networks` says."""
        return self._bytes_a_pixel

    def reserved(self) -> int:
        """As `Networks` says."""
        router = 0 if self._router.is_loaded else self._router.size
        return router - sum(branch.size for branch in self._restorers if branch.is_idle)

    def _first_that_loads(self, branches: Sequence["EngineBranch"]) -> "EngineBranch":
        for branch in branches:
            try:
                branch.load()
            except BundleError as error:
                if branch is branches[-1]:
                    raise
                _logger.warning("%s", error.line())
                self._restorers.remove(branch)
            else:
                for idle in self._restorers:
                    if idle is not branch and idle.is_idle:
                        idle.unload()
                return branch
        raise AssertionError("the last one loads or raises")

    def _no_engine_for(self, gates: Array) -> BackendError:
        model = self._bundle.manifest.model
        there = {_depends(branch.engine).serves(model.classes) for branch in self._restorers}
        shares = zip(model.classes, map(float, gates), strict=True)
        return BackendError(
            f"no engine of {self._bundle.path} serves these gates",
            wanted=", ".join(f"{name}={share:g}" for name, share in shares if share),
            found=f"engines for {', '.join(sorted(there))}",
            hint=f"`lorair-export engine {self._bundle.path} --flavour {self._flavour} "
            "--routes any` builds one",
        )


def _depends(engine: Engine) -> Depends:
    assert engine.record is not None
    return engine.record.depends


def _serves(engine: Engine, gates: Array) -> bool:
    merged = _depends(engine).gates
    return merged is None or merged == tuple(map(float, gates))


def _form(engine: Engine) -> int:
    """Merged, plugin, bodies."""
    depends = _depends(engine)
    return 0 if depends.gates is not None else 1 if depends.kernels is not None else 2


@dataclass(frozen=True)
class _Loader:
    """What turns an engine's file into networks, the same for all of a bundle.

    library: the module. log: what it says.
    """

    library: Any
    runtime: Any
    gpu: Gpu
    scratch: Scratch
    log: Any

    def load(self, engine: Engine) -> Any:
        """Return an `ICudaEngine`. Raises BundleError."""
        made = self.runtime.deserialize_cuda_engine(engine.read())
        if made is None:
            raise BundleError(
                f"the engine {engine.path} does not load",
                found=self.log.last,
                hint="build it again with `lorair-export engine`",
            )
        return made


class EngineBranch:
    """An engine, on the GPU from its first use until nothing is bound to it any more.

    engine: its file. size: of its weights, about.
    """

    def __init__(self, engine: Engine, loader: _Loader) -> None:
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
        loader: _Loader,
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
