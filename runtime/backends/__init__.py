"""Backends: what runs a bundle's two graphs. One file each; `select` picks one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle import Bundle, Precision
from lorair.runtime.errors import BackendError, DependencyError
from lorair.runtime.machine import is_installed

Array = npt.NDArray[np.float32]


class Backend(Protocol):
    """Runs the two graphs. Arrays are float32, C-contiguous, on the host."""

    @property
    def name(self) -> str:
        """As `--backend` takes it."""

    @property
    def description(self) -> str:
        """Library, version, device and threads, for reports."""

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


@dataclass(frozen=True)
class BackendKind:
    """A backend that may or may not be installed.

    name: as `--backend` takes it.
    package: that must be importable. extra: of lorair that brings it.
    precisions: of bundles that `auto` may run with it: no lower arithmetic than they ask for.
    open: bundle, threads -> backend.
    own_graph: whether the bundle must hold the restorer in this package's own form.
    lacks: what the machine lacks to run it, once the package is there; None if nothing.
    """

    name: str
    package: str
    extra: str
    precisions: frozenset[Precision]
    open: Callable[[Bundle, int | None], Backend]
    own_graph: bool = False
    lacks: Callable[[], str | None] = lambda: None

    @property
    def install_command(self) -> str:
        """What brings the package."""
        return f"pip install 'lorair[{self.extra}]'"

    def missing(self) -> str | None:
        """Why it cannot run here, in a few words; None if it can."""
        if not is_installed(self.package):
            return f"the package {self.package} is not installed"
        return self.lacks()


def _onnxruntime(bundle: Bundle, threads: int | None) -> Backend:
    from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads)


def _openvino(bundle: Bundle, threads: int | None) -> Backend:
    from lorair.runtime.backends.openvino import OpenVINOBackend

    return OpenVINOBackend(bundle, threads)


def _openvino_bf16(bundle: Bundle, threads: int | None) -> Backend:
    from lorair.runtime.backends.openvino import OpenVINOBackend

    return OpenVINOBackend(bundle, threads, "bf16")


def _no_bfloat16() -> str | None:
    from lorair.runtime.backends.openvino import has_bfloat16

    return None if has_bfloat16() else "the processor has no bfloat16 arithmetic"


_ANY: Final[frozenset[Precision]] = frozenset({"fp32", "fp16"})

BACKENDS: Final = {
    kind.name: kind
    for kind in (
        BackendKind(
            "openvino-bf16",
            "openvino",
            "openvino",
            frozenset({"fp16"}),
            _openvino_bf16,
            own_graph=True,
            lacks=_no_bfloat16,
        ),
        BackendKind("openvino", "openvino", "openvino", _ANY, _openvino, own_graph=True),
        BackendKind("onnxruntime", "onnxruntime", "cpu", _ANY, _onnxruntime),
    )
}
"""Every backend by name, the fastest first (docs/benchmarks.md)."""

AUTO: Final = "auto"


def choose(bundle: Bundle) -> BackendKind:
    """What `auto` stands for: the fastest backend that is here and keeps the precision.

    Raises:
        DependencyError: none is installed.
    """
    precision = bundle.manifest.precision
    for kind in BACKENDS.values():
        has_graph = not kind.own_graph or bundle.restorer_for(kind.package) is not None
        if precision in kind.precisions and has_graph and kind.missing() is None:
            return kind
    raise DependencyError(
        "cannot run a bundle",
        wanted="a backend",
        found="none installed",
        hint=f"{BACKENDS['onnxruntime'].install_command}; `lorair-run doctor` lists all",
    )


def select(name: str, bundle: Bundle, threads: int | None = None) -> Backend:
    """Open the named backend, or with `auto` what `choose` says.

    Raises:
        BackendError: there is no such backend, or it cannot run this bundle.
        DependencyError: its package is not installed.
    """
    if name == AUTO:
        return choose(bundle).open(bundle, threads)
    if name not in BACKENDS:
        raise BackendError(
            f"no backend {name!r}",
            wanted=f"auto or one of {', '.join(BACKENDS)}",
            found=name,
            hint="leave --backend out for the best one installed",
        )
    return BACKENDS[name].open(bundle, threads)
