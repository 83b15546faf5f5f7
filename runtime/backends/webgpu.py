"""ONNX Runtime's WebGPU provider: GPUs of any maker, through Vulkan, Metal or Direct3D 12.

Two packages have it: `onnxruntime-ep-webgpu` as a plugin beside onnxruntime, which finds GPUs
that the system lists, and `onnxruntime-webgpu` in place of onnxruntime, which takes whatever
adapter Vulkan has. The restorer's weights are merged on the host, one graph for each gates, and
`restorer.onnx` is never loaded: the library (1.27) would end the process (docs/decisions.md).
"""

import logging
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from lorair.runtime.backends.backend import Branch, Run
from lorair.runtime.backends.graphs import Shapes
from lorair.runtime.backends.host import Part
from lorair.runtime.backends.onnxruntime import (
    MERGED_FORM,
    MergingBackend,
    SessionGraph,
    import_onnxruntime,
    session_options,
)
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError
from lorair.runtime.pixels import Array
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import is_installed

PROVIDER: Final = "WebGpuExecutionProvider"
PLUGIN: Final = "onnxruntime_ep_webgpu"
NO_GPU: Final = "the system lists no GPU for WebGPU"

_NEGATE: Final = (
    b'\x08\x08:2\n\x0b\n\x01x\x12\x01y"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08%c\x12\x04\n\x02\x08'
    b"\x01b\x0f\n\x01y\x12\n\n\x08\x08%c\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""An ONNX model: x (1) -> y = -x, of the element type that is put in twice."""

_NO_HALF: Final = "requires f16"
_LOST: Final = re.compile(r"device.{0,80}\blost|devicelost", re.IGNORECASE | re.DOTALL)
_logger = logging.getLogger(__name__)

T = TypeVar("T")


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> "WebGpuBackend":
    """Open a bundle on the GPU; the threads are those of what is left to the CPU."""
    if not _is_built_in():
        require("run on a GPU through WebGPU", "webgpu", PLUGIN)
    for lacking in (lacks(name), unfit(name, bundle)):
        if lacking is not None:
            raise BackendError(
                "cannot run on a GPU through WebGPU",
                found=lacking,
                hint="`lorair-run doctor` shows what runs here",
            )
    return WebGpuBackend(bundle, threads, jobs)


def lacks(name: str) -> str | None:
    """Return why no GPU can be used here; None if one can."""
    return adapter().lacks


def unfit(name: str, bundle: Bundle) -> str | None:
    """Return why a bundle does not run on the GPU; None if it does."""
    if bundle.restorer_for(MERGED_FORM) is None:
        return "the bundle has no graph in a GPU's form; build it again"
    if bundle.manifest.precision == "fp16" and not adapter().has_half:
        return "the GPU has no shader-f16, which an fp16 bundle needs; take an fp32 one"
    return None


def is_faster(name: str) -> bool:
    """Whether it is likely to be faster than the CPU: on a GPU with a memory of its own."""
    with suppress(Exception):  # whose reason `lacks` gives
        return _is_discrete(_listed())
    return False


def about(name: str) -> str | None:
    """Return what it runs on and that one's features; None without an adapter."""
    found = adapter()
    if found.lacks is not None:
        return None
    return f"{found.name}, {'with' if found.has_half else 'no'} shader-f16"


@dataclass(frozen=True)
class Adapter:
    """The GPU that the library takes; it offers no choice.

    lacks: why there is none, or None. name: for people. has_half: whether shaders compute in
    float16.
    """

    lacks: str | None
    name: str = "a GPU that the system does not list"
    has_half: bool = False


@cache
def adapter() -> Adapter:
    """Return what there is, found by running one operator in float16."""
    try:
        device = _listed()
    except Exception as error:  # its exceptions share no base class but this
        return Adapter(f"the plugin does not load: {_sentence(error)}")
    if device is None and not _is_built_in():
        return Adapter(NO_GPU)
    has_half = True
    try:
        _negate(np.ones(1, np.float16))
    except Exception as error:  # as above
        if _NO_HALF not in str(error):
            return Adapter(f"no adapter: {_sentence(error)}")
        has_half = False
    if device is None:
        return Adapter(None, has_half=has_half)
    gpu = device.device
    name = gpu.metadata.get("Description") or f"{gpu.vendor} GPU {gpu.device_id:#06x}"
    kind = "discrete" if _is_discrete(device) else "integrated"
    return Adapter(None, f"{name} ({kind})", has_half)


def _is_discrete(device: Any) -> bool:
    """Whether a device that the library lists has a memory of its own."""
    return device is not None and device.device.metadata.get("Discrete") == "1"


class WebGpuBackend(MergingBackend):
    """Runs a bundle with ONNX Runtime's WebGPU provider.

    Args:
        bundle: to run.
        threads: of the CPU, for what is left to it; None for one a core.
        jobs: pictures at once; the GPU takes one after the other.
    """

    name = library = "webgpu"

    @property
    def description(self) -> str:
        """Library, version and device, and whether the device was lost."""
        text = f"onnxruntime {self._library.__version__}, WebGPU on {adapter().name}"
        return f"{text}, lost: now on the CPU" if _DEVICE.is_given_up else text

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph that has inner values as outputs; see `RunsGraphs`."""
        return self._run_inner(branch, self._load("router", graph))

    def _load(self, part: Part, path: Path, gates: Array | None = None) -> "_DeviceGraph":
        def load(on_gpu: bool) -> Any:
            options = self._options()
            if not on_gpu:
                return self._open(path, options, gates)
            if part == "restorer":  # rather none than one that waits for the CPU at every node
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            return self._open(path, options, gates, _open_session)

        return _DeviceGraph(load)


class _DeviceGraph:
    """A graph on the device, or on the CPU once the device is given up."""

    def __init__(self, load: Callable[[bool], Any]) -> None:
        self._load = load
        self._session: SessionGraph | None = None
        _DEVICE.run(self._opened)

    def run(self, inputs: dict[str, Any]) -> list[Array]:
        """Inputs by name -> outputs in order."""
        return _DEVICE.run(lambda: self._opened().run(inputs))

    def shapes(self, wanted: Shapes | None = None) -> Shapes:
        """Sizes of its inputs and outputs."""
        return _DEVICE.run(lambda: self._opened().shapes())

    def forget(self) -> None:
        """Drop the session; the next run opens another."""
        self._session = None

    def _opened(self) -> SessionGraph:
        if self._session is None:
            _DEVICE.graphs.add(self)
            self._session = SessionGraph(self._load(not _DEVICE.is_given_up))
        return self._session


class _Device:
    """The process's one device: its library shares it among all sessions.

    graphs: on it. is_given_up: whether it was lost again on the second try.
    """

    def __init__(self) -> None:
        self.graphs: WeakSet[_DeviceGraph] = WeakSet()
        self.is_given_up = False
        self._turn = threading.RLock()

    def run(self, work: Callable[[], T]) -> T:
        """Do it on the device, once more on a new one if that is lost, and then on the CPU."""
        with self._turn:
            for remedy in ("a new one is tried", "the CPU goes on"):
                try:
                    return work()
                except Exception as error:  # the library's exceptions share no base class but this
                    if not _LOST.search(str(error)):
                        raise
                    _logger.warning("the GPU was lost, %s: %s", remedy, _sentence(error))
                # Only here are the error's frames gone, which hold a session: the library makes
                # a new device once none is left.
                for graph in self.graphs:
                    graph.forget()
            self.is_given_up = True
            return work()


_DEVICE: Final = _Device()


def _is_built_in() -> bool:
    return PROVIDER in import_onnxruntime().get_available_providers()


@cache
def _listed() -> Any:
    """The device as the library lists it, its plugin registered first; None if it lists none."""
    library = import_onnxruntime()
    if not _is_built_in() and is_installed(PLUGIN):
        plugin = import_module(PLUGIN)
        library.register_execution_provider_library(PROVIDER, plugin.get_library_path())
    return next((d for d in library.get_ep_devices() if d.ep_name == PROVIDER), None)


def _open_session(graph: Path, options: Any) -> Any:
    """A session on the GPU that is ready: a process that ends while it gets so may crash."""
    session = _session(graph, options)
    _negate(np.ones(1, np.float32))
    return session


def _negate(x: npt.NDArray[Any]) -> None:
    """Run one operator, after all that the GPU has been told to do."""
    element = {"float32": b"\x01", "float16": b"\x0a"}[x.dtype.name]
    _session(_NEGATE % (element, element), session_options()).run(None, {"x": x})


def _session(graph: Path | bytes, options: Any) -> Any:
    """A session; whatever the provider does not know is the CPU's."""
    library, device = import_onnxruntime(), _listed()
    if _is_built_in():  # without enable_fallback=0 it would print, and take the CPU
        return library.InferenceSession(graph, options, providers=[PROVIDER], enable_fallback=0)
    options.add_provider_for_devices([device], {})
    return library.InferenceSession(graph, options)


def _sentence(error: Exception) -> str:
    """The end of a message of the library's, which begins with files and functions."""
    return str(error).rsplit(" was false. ")[-1].splitlines()[0]
