"""Backends: what runs a bundle's two graphs. One file each; `select` picks one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lorair.runtime.backends.tiles import Means, TileInputs
from lorair.runtime.bundle.manifest import Bundle, Precision
from lorair.runtime.errors import BackendError, BundleError, DependencyError
from lorair.runtime.gpu.driver import missing_gpu
from lorair.runtime.gpu.engine_fit import has_engines, unfit
from lorair.runtime.system.machine import is_installed

if TYPE_CHECKING:
    from lorair.runtime.gpu.walk import GpuWalk

Array = npt.NDArray[np.float32]


class Backend(Protocol):
    """Runs the two graphs. Arrays are float32, C-contiguous, on the host."""

    @property
    def name(self) -> str:
        """As `--backend` takes it."""

    @property
    def description(self) -> str:
        """Library, version, device and threads, for reports."""

    @property
    def walk(self) -> "GpuWalk | None":
        """The whole walk on a GPU, for 8-bit pictures; None if pictures' ends are the host's."""

    def load_router(self) -> None:
        """Load the router's graph, unless it is loaded. `route` does it too."""

    def load_restorer(self, gates: Array) -> None:
        """Load the restoration network's graph for these gates (E), unless it is loaded.

        `restore` does it too.
        """

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""

    @property
    def shares_means(self) -> bool:
        """Whether tiles can share their picture's pooled means: `restore_tile` works."""

    def restore_tile(self, tile: TileInputs, means: Means | None) -> tuple[Array, Means]:
        """A tile restored under its picture's means, or None for its own.

        Returns:
            restored (1, 3, H, W), and the means over the part that no other tile counts.
        """

    def largest_tile(self) -> tuple[int, int] | None:
        """Height and width of the largest picture that it takes; None if memory is the limit."""

    def free_memory(self) -> int | None:
        """Bytes that a run may still take, on the host or the GPU; None if unknown."""


Branch = Literal["router", "restorer"]

Run = Callable[[dict[str, Array]], list[npt.NDArray[Any]]]
"""Inputs by name -> a graph's outputs in order, in the graph's types."""


@runtime_checkable
class RunsGraphs(Protocol):
    """A backend that can also run other graphs as it runs a bundle's, to find errors in them."""

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph of standard ONNX as one of a branch, every optimisation included.

        It has some of that branch's inputs, and any of its inner values as outputs.
        """


class Opener(Protocol):
    """Opens a backend."""

    def __call__(self, bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
        """For `jobs` pictures at once, which share the CPU threads."""


@dataclass(frozen=True)
class BackendKind:
    """A backend that may or may not be installed.

    name: as `--backend` takes it.
    package: that must be importable. extra: of lorair that brings it.
    precisions: of bundles that `auto` may run with it: no lower arithmetic than they ask for.
    open: bundle, threads, jobs -> backend.
    lacks: what the machine lacks to run it, once the package is there; None if nothing.
    unfit: what a bundle lacks to run on it here; None if nothing.
    expected: whether a bundle was prepared for it, so that people want to know why not.
    distribution: that brings the package, if its name is another.
    """

    name: str
    package: str
    extra: str
    precisions: frozenset[Precision]
    open: Opener
    lacks: Callable[[], str | None] = lambda: None
    unfit: Callable[[Bundle], str | None] = lambda bundle: None
    expected: Callable[[Bundle], bool] = lambda bundle: False
    distribution: str | None = None

    @property
    def install_command(self) -> str:
        """What brings the package."""
        return f"pip install 'lorair[{self.extra}]'"

    def missing(self) -> str | None:
        """Why it cannot run here, in a few words; None if it can."""
        if self.version is None:
            return f"the package {self.distribution or self.package} is not installed"
        return self.lacks()

    @property
    def version(self) -> str | None:
        """Of the package; None if it is not installed."""
        try:
            return (
                version(self.distribution or self.package) if is_installed(self.package) else None
            )
        except PackageNotFoundError:
            return None


def _onnxruntime(bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
    from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads, jobs)


def _openvino(bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
    from lorair.runtime.backends.openvino import OpenVINOBackend

    return OpenVINOBackend(bundle, threads, jobs=jobs)


def _openvino_bf16(bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
    from lorair.runtime.backends.openvino import OpenVINOBackend

    return OpenVINOBackend(bundle, threads, "bf16", jobs)


def _tensorrt_rtx(bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
    from lorair.runtime.backends.tensorrt import open_tensorrt

    return open_tensorrt(bundle, "tensorrt-rtx")


def _tensorrt(bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
    from lorair.runtime.backends.tensorrt import open_tensorrt

    return open_tensorrt(bundle, "tensorrt")


def _onnxruntime_cuda(bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
    from lorair.runtime.backends.onnxruntime_cuda import open_onnxruntime_cuda

    return open_onnxruntime_cuda(bundle)


def _no_gpu() -> str | None:
    if not is_installed("cuda.core"):
        return "the package cuda-core is not installed"
    return missing_gpu()


def _no_openvino_graph(bundle: Bundle) -> str | None:
    is_there = bundle.restorer_for("openvino") is not None
    return None if is_there else "the bundle has no graph in OpenVINO's form; build it again"


def _no_bfloat16() -> str | None:
    from lorair.runtime.backends.openvino import has_bfloat16

    return None if has_bfloat16() else "the processor has no bfloat16 arithmetic"


_ANY: Final[frozenset[Precision]] = frozenset({"fp32", "fp16"})

BACKENDS: Final = {
    kind.name: kind
    for kind in (
        BackendKind(
            "tensorrt-rtx",
            "tensorrt_rtx",
            "rtx",
            _ANY,
            _tensorrt_rtx,
            lacks=_no_gpu,
            unfit=partial(unfit, flavour="tensorrt-rtx"),
            expected=partial(has_engines, flavour="tensorrt-rtx"),
        ),
        BackendKind(
            "tensorrt",
            "tensorrt",
            "tensorrt",
            _ANY,
            _tensorrt,
            lacks=_no_gpu,
            unfit=partial(unfit, flavour="tensorrt"),
            expected=partial(has_engines, flavour="tensorrt"),
        ),
        BackendKind(
            "onnxruntime-cuda",
            "onnxruntime",
            "cuda",
            _ANY,
            _onnxruntime_cuda,
            lacks=_no_gpu,
            distribution="onnxruntime-gpu",
        ),
        BackendKind(
            "openvino-bf16",
            "openvino",
            "openvino",
            frozenset({"fp16"}),
            _openvino_bf16,
            lacks=_no_bfloat16,
            unfit=_no_openvino_graph,
        ),
        BackendKind("openvino", "openvino", "openvino", _ANY, _openvino, unfit=_no_openvino_graph),
        BackendKind("onnxruntime", "onnxruntime", "cpu", _ANY, _onnxruntime),
    )
}
"""Every backend by name, the fastest first (docs/benchmarks.md)."""

AUTO: Final = "auto"

_LAST: Final = BACKENDS["onnxruntime"]
"""What fails there fails everywhere."""


@dataclass(frozen=True)
class Selected:
    """What `auto` came to. skipped: why not the backends that the bundle was prepared for."""

    kind: BackendKind
    skipped: tuple[str, ...] = ()


def choose(bundle: Bundle) -> Selected:
    """What `auto` stands for: the fastest backend that is here and keeps the precision.

    Raises:
        DependencyError: none is installed.
    """
    return next(_candidates(bundle))


def select(name: str, bundle: Bundle, threads: int | None = None, jobs: int = 1) -> Backend:
    """Open the named backend, or with `auto` the first that `choose` would take and that opens.

    Raises:
        BackendError: there is no such backend, or it cannot run this bundle.
        DependencyError: its package is not installed.
    """
    if name == AUTO:
        return select_auto(bundle, threads, jobs)[0]
    if name not in BACKENDS:
        raise BackendError(
            f"no backend {name!r}",
            wanted=f"auto or one of {', '.join(BACKENDS)}",
            found=name,
            hint="leave --backend out for the best one installed",
        )
    return BACKENDS[name].open(bundle, threads, jobs)


def select_auto(
    bundle: Bundle, threads: int | None = None, jobs: int = 1
) -> tuple[Backend, tuple[str, ...]]:
    """Open the fastest backend that opens.

    Returns:
        the backend, and why not those that the bundle was prepared for.

    Raises:
        DependencyError: none is installed.
        UserError: of the last backend, if none opens.
    """
    failed: list[str] = []
    for candidate in _candidates(bundle):
        try:
            backend = candidate.kind.open(bundle, threads, jobs)
        except (BackendError, BundleError, DependencyError) as error:
            if candidate.kind is _LAST:
                raise
            failed.append(f"{candidate.kind.name} is not used: {error.line()}")
        else:
            return backend, (*candidate.skipped, *failed)
    raise AssertionError("the candidates end with an error")


def _candidates(bundle: Bundle) -> Iterator[Selected]:
    """Backends that should run a bundle here, the fastest first; ends with DependencyError."""
    precision = bundle.manifest.precision
    skipped: list[str] = []
    for kind in BACKENDS.values():
        if precision not in kind.precisions:
            continue
        reason = kind.missing() or kind.unfit(bundle)
        if reason is None:
            yield Selected(kind, tuple(skipped))
        elif kind.expected(bundle):
            skipped.append(f"{kind.name} is not used: {reason}")
    raise DependencyError(
        "cannot run a bundle",
        wanted="a backend",
        found="none installed",
        hint=f"{BACKENDS['onnxruntime'].install_command}; `lorair-run doctor` lists all",
    )
