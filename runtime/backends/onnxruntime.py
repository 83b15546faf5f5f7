"""ONNX Runtime on the CPU: the backend that runs everywhere."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle import Bundle
from lorair.runtime.errors import BundleError, DependencyError
from lorair.runtime.machine import usable_cores

Array = npt.NDArray[np.float32]

_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """Runs a bundle with ONNX Runtime's CPU provider.

    Each graph is loaded when it is first run: with a known route the router never is.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyError(
                "cannot run a bundle",
                wanted="the package onnxruntime",
                found="it is not installed",
                hint="pip install 'lorair[cpu]'",
            ) from error
        self._library = onnxruntime
        self._bundle = bundle
        self._lock = threading.Lock()
        self._router: Any = None
        self._restorer: Any = None
        self.threads = threads or usable_cores()

    @property
    def description(self) -> str:
        """Library, version, device and threads."""
        version = self._library.__version__
        return f"onnxruntime {version}, CPU, {self.threads} threads"

    def load_router(self) -> None:
        """Load the router's graph, unless it is loaded."""
        with self._lock:
            if self._router is None:
                self._router = self._session(self._bundle.router)

    def load_restorer(self) -> None:
        """Load the restoration network's graph, unless it is loaded."""
        with self._lock:
            if self._restorer is None:
                self._restorer = self._session(self._bundle.restorer)

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        self.load_router()
        logits, prior, gates = self._router.run(["logits", "prior", "gates"], {"views": views})
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        self.load_restorer()
        inputs = {"image": image, "prior": prior, "gates": gates}
        restored: Array = self._restorer.run(["restored"], inputs)[0]
        return restored

    def _session(self, graph: Path) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _ERRORS_ONLY
        try:
            return self._library.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class but this
            raise BundleError(
                f"onnxruntime cannot load {graph}",
                found=str(error),
                hint="build the bundle again with `lorair-export build`",
            ) from error
