"""Backends: what runs a bundle's two graphs. One file each; `select` picks one."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle import Bundle
from lorair.runtime.errors import BackendError

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

    def load_restorer(self) -> None:
        """Load the restoration network's graph, unless it is loaded. `restore` does it too."""

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""


def _onnxruntime(bundle: Bundle, threads: int | None) -> Backend:
    from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads)


BACKENDS: dict[str, Callable[[Bundle, int | None], Backend]] = {"onnxruntime": _onnxruntime}
"""Every backend, the best first."""


def select(name: str, bundle: Bundle, threads: int | None = None) -> Backend:
    """Open the named backend, or with `auto` the first that can run here.

    Raises:
        BackendError: there is no such backend, or it cannot run this bundle.
        DependencyError: its package is not installed.
    """
    if name == "auto":
        name = next(iter(BACKENDS))
    if name not in BACKENDS:
        raise BackendError(
            f"no backend {name!r}",
            wanted=f"auto or one of {', '.join(BACKENDS)}",
            found=name,
            hint="leave --backend out for the best one installed",
        )
    return BACKENDS[name](bundle, threads)
