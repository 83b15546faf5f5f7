"""TensorRT and TensorRT-RTX: engines of the bundle, on a GPU. One API, two modules."""

import logging
import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from lorair.runtime.backends.engine import EngineBranch, Loader, make_log
from lorair.runtime.backends.gpu import GpuBackend
from lorair.runtime.bundle.engines import Depends, Engine, Flavour
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError, BundleError, DependencyError, PictureError
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.driver import no_gpu
from lorair.runtime.gpu.engine_fit import MODULES, area, fitting, image_range, misfit_of, takes
from lorair.runtime.gpu.memory import Scratch
from lorair.runtime.gpu.network import Branch
from lorair.runtime.gpu.plan import Size
from lorair.runtime.pixels import Array

_ENDS: Final = 40
"""Bytes a pixel beside the network's: the picture and its planes, up and down."""

_logger = logging.getLogger(__name__)


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> GpuBackend:
    """Open a bundle's engines of the flavour of that name; threads are the CPU's."""
    return open_tensorrt(bundle, _flavour(name), jobs=jobs)


def lacks(name: str) -> str | None:
    """Return why no GPU can be used here; None if one can."""
    return no_gpu()


def unfit(name: str, bundle: Bundle) -> str | None:
    """Return why no engines of a bundle fit here; None if some do."""
    return misfit_of(bundle, _flavour(name))


def _flavour(name: str) -> Flavour:
    return next(flavour for flavour in MODULES if flavour == name)


def open_tensorrt(
    bundle: Bundle, flavour: Flavour, gpu: Gpu | None = None, jobs: int = 1
) -> GpuBackend:
    """A backend on the bundle's engines.

    Args:
        bundle: with engines that fit this GPU and library.
        flavour: whose engines.
        gpu: to run on; None for the first, with a stream of its own.
        jobs: pictures at once.

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
    networks = EngineNetworks(library, flavour, bundle, gpu)
    return GpuBackend(flavour, f"{flavour} {library.__version__}", bundle, gpu, networks, jobs)


class EngineNetworks:
    """The bundle's engines of one flavour that fit here, each loaded when it is needed.

    For a picture's gates the first form that serves them is taken: an engine with just these
    gates merged, else one with plugins, else one that merges as it runs; of one form, the one
    with the least reach. A damaged engine is passed over, and the log says so.

    One restorer is loaded at once: damage should show before the first picture.
    """

    def __init__(self, library: Any, flavour: Flavour, bundle: Bundle, gpu: Gpu) -> None:
        self._bundle, self._flavour = bundle, flavour
        found = fitting(bundle, flavour, library.__version__, gpu.info)
        self.scratch = Scratch(gpu)
        log = make_log(library)
        loader = Loader(bundle, library, library.Runtime(log), gpu, self.scratch, log)
        engines = sorted(found["restorer"], key=lambda engine: (_form(engine), area(engine)))
        self._restorers = [EngineBranch(engine, loader) for engine in engines]
        self._router = EngineBranch(found["router"][0], loader)
        with gpu.turn():
            widest_first = sorted(self._restorers, key=lambda b: -area(b.engine))
            first = self._first_that_loads(widest_first)
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
        large_enough = [branch for branch in serving if takes(branch.engine, *size)]
        if large_enough:
            return self._first_that_loads(large_enough)
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

    def _first_that_loads(self, branches: Sequence[EngineBranch]) -> EngineBranch:
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


def _reach(engines: list[Engine]) -> tuple[str, str]:
    """The least and the largest picture that engines take, for people."""
    least = min((image_range(engine).min for engine in engines), key=math.prod)
    most = max((image_range(engine).max for engine in engines), key=math.prod)
    return f"{least[2]}x{least[3]}", f"{most[2]}x{most[3]}"
