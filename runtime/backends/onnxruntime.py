"""ONNX Runtime on the CPU: the backend that runs everywhere."""

import threading
from functools import cached_property
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
        self.threads = threads or usable_cores()

    @property
    def description(self) -> str:
        """Library, version, device and threads."""
        version = self._library.__version__
        return f"onnxruntime {version}, CPU, {self.threads} threads"

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        with self._lock:
            session = self._router
        logits, prior, gates = session.run(["logits", "prior", "gates"], {"views": views})
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        with self._lock:
            session = self._restorer
        inputs = {"image": image, "prior": prior, "gates": gates}
        restored: Array = session.run(["restored"], inputs)[0]
        return restored

    @cached_property
    def _router(self) -> Any:
        return self._session(self._bundle.router)

    @cached_property
    def _restorer(self) -> Any:
        return self._session(self._bundle.restorer)

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
