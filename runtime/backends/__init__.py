"""Backends: what runs a bundle's two graphs. One file each; `select` picks one."""

from collections.abc import Iterator
from typing import Final

from lorair.runtime.backends.backend import Backend as Backend
from lorair.runtime.backends.backend import BackendKind as BackendKind
from lorair.runtime.backends.backend import Branch as Branch
from lorair.runtime.backends.backend import Run as Run
from lorair.runtime.backends.backend import RunsGraphs as RunsGraphs
from lorair.runtime.backends.tuned import order
from lorair.runtime.bundle.manifest import Bundle, Precision
from lorair.runtime.errors import BackendError, BundleError, DependencyError

_HALF: Final[frozenset[Precision]] = frozenset({"fp16"})

_TABLE: Final = (
    BackendKind("tensorrt-rtx", "tensorrt_rtx", "rtx", "tensorrt", flavour="tensorrt-rtx"),
    BackendKind("tensorrt", "tensorrt", "tensorrt", "tensorrt", flavour="tensorrt"),
    BackendKind(
        "onnxruntime-cuda",
        "onnxruntime",
        "cuda",
        "onnxruntime_cuda",
        distributions=("onnxruntime-gpu",),
    ),
    BackendKind(
        "onnxruntime-rtx",
        "onnxruntime_ep_nv_tensorrt_rtx",
        "onnxruntime-rtx",
        "onnxruntime_rtx",
        distributions=(
            "onnxruntime-ep-nv-tensorrt-rtx-cu13",
            "onnxruntime-ep-nv-tensorrt-rtx-cu12",
        ),
    ),
    BackendKind(
        "webgpu",
        "onnxruntime",
        "webgpu",
        "webgpu",
        distributions=("onnxruntime-ep-webgpu", "onnxruntime-webgpu"),
    ),
    BackendKind("openvino-gpu", "openvino", "openvino", "openvino", precisions=_HALF),
    BackendKind("openvino-npu", "openvino", "openvino", "openvino", precisions=_HALF),
    BackendKind("openvino-bf16", "openvino", "openvino", "openvino", precisions=_HALF),
    BackendKind("openvino", "openvino", "openvino", "openvino"),
    BackendKind(
        "onnxruntime",
        "onnxruntime",
        "cpu",
        "onnxruntime",
        distributions=("onnxruntime", "onnxruntime-webgpu", "onnxruntime-gpu"),
    ),
)

BACKENDS: Final = {kind.name: kind for kind in _TABLE}
"""Every backend by name, the fastest first (docs/benchmarks.md). A new one is a line here and
a file beside this one."""

AUTO: Final = "auto"

_LAST: Final = BACKENDS["onnxruntime"]
"""What fails there fails everywhere."""


def choose(bundle: Bundle) -> BackendKind:
    """Return what `auto` stands for: the fastest backend that is here and keeps the precision.

    Raises DependencyError: none is installed.
    """
    return next(_candidates(bundle))[0]


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
        the backend, and why not those that the bundle was made for.

    Raises:
        DependencyError: none is installed.
        UserError: of the last backend, if none opens.
    """
    failed: list[str] = []
    for kind, skipped in _candidates(bundle):
        try:
            return kind.open(bundle, threads, jobs), (*skipped, *failed)
        except (BackendError, BundleError, DependencyError) as error:
            if kind is _LAST:
                raise
            failed.append(f"{kind.name} is not used: {error.line()}")
    raise AssertionError("the candidates end with an error")


def _candidates(bundle: Bundle) -> Iterator[tuple[BackendKind, tuple[str, ...]]]:
    """Yield backends that should run a bundle here, the fastest first.

    The order is what `lorair-run tune` has measured here, else the table's.
    With each comes why those before it that the bundle was made for cannot. Ends with
    DependencyError.
    """
    precision = bundle.manifest.precision
    skipped: list[str] = []
    timed = order(bundle, BACKENDS.values())
    others = (name for name in BACKENDS if name not in timed)
    for kind in map(BACKENDS.__getitem__, (*timed, *others)):
        if precision not in kind.precisions or not (kind.name in timed or kind.is_faster()):
            continue
        reason = kind.missing() or kind.unfit(bundle)
        if reason is None:
            yield kind, tuple(skipped)
        elif kind.is_expected(bundle):
            skipped.append(f"{kind.name} is not used: {reason}")
    raise DependencyError(
        "cannot run a bundle",
        wanted="a backend",
        found="none installed",
        hint=f"{BACKENDS['onnxruntime'].install_command}; `lorair-run doctor` lists all",
    )
