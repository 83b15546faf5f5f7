"""ONNX Runtime on the CPU: the backend that runs everywhere."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle import Bundle
from lorair.runtime.errors import BundleError, DependencyError, InternalError
from lorair.runtime.machine import usable_cores

Array = npt.NDArray[np.float32]

_FATAL_ONLY = 4


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
                self._router = self._session(self._bundle.router, self._router_shapes())

    def load_restorer(self) -> None:
        """Load the restoration network's graph, unless it is loaded."""
        with self._lock:
            if self._restorer is None:
                self._restorer = self._session(self._bundle.restorer, self._restorer_shapes())

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        self.load_router()
        logits, prior, gates = self._run(self._router, {"views": views}, "the router's views")
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        self.load_restorer()
        inputs = {"image": image, "prior": prior, "gates": gates}
        height, width = image.shape[2:]
        restored: Array = self._run(self._restorer, inputs, f"a picture of {width}x{height}")[0]
        return restored

    def _run(self, session: Any, inputs: dict[str, Array], what: str) -> list[Array]:
        try:
            outputs: list[Array] = session.run(None, inputs)
        except Exception as error:  # its exceptions share no base class but this
            raise InternalError(
                f"onnxruntime failed on {what}",
                found=str(error),
                hint="if memory ran out, try a smaller picture",
            ) from error
        return outputs

    def _router_shapes(self) -> dict[str, list[object]]:
        model = self._bundle.manifest.model
        side = model.clip_side
        return {
            "views": ["batch", 5, 3, side, side],
            "logits": ["batch", model.experts],
            "prior": ["batch", model.prior],
            "gates": ["batch", model.experts],
        }

    def _restorer_shapes(self) -> dict[str, list[object]]:
        model = self._bundle.manifest.model
        picture = [1, 3, f"{model.stride}*h", f"{model.stride}*w"]
        return {
            "image": picture,
            "prior": [1, model.prior],
            "gates": [model.experts],
            "restored": picture,
        }

    def _session(self, graph: Path, wanted: dict[str, list[object]]) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _FATAL_ONLY
        try:
            session = self._library.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class but this
            raise BundleError(
                f"onnxruntime cannot load {graph}",
                found=str(error),
                hint="build the bundle again with `lorair-export build`",
            ) from error
        values = (*session.get_inputs(), *session.get_outputs())
        found = {value.name: list(value.shape) for value in values}
        if found != wanted:
            # A graph that is not the manifest's would give a wrong picture, not an error.
            raise BundleError(
                f"{graph} is not what the manifest says",
                wanted=str(wanted),
                found=str(found),
                hint="build the bundle again with `lorair-export build`",
            )
        return session
