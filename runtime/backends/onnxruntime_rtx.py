"""ONNX Runtime's provider for TensorRT for RTX: NVIDIA's RTX GPUs, with nothing built beforehand.

The package `onnxruntime-ep-nv-tensorrt-rtx` is a plugin beside onnxruntime and brings
TensorRT for RTX itself. A graph for each gates is compiled when it is first needed, which takes
seconds, and kept in the cache as ONNX Runtime's "EP context" model. Nobody has run it yet.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lorair.runtime.backends.host import LoadedGraph, Part
from lorair.runtime.backends.onnxruntime import MergingBackend, SessionGraph, import_onnxruntime
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError, BundleError
from lorair.runtime.pixels import Array
from lorair.runtime.system import cache as graph_cache
from lorair.runtime.system.extras import require

NAME: Final = "onnxruntime-rtx"
PLUGIN: Final = "onnxruntime_ep_nv_tensorrt_rtx"
_CONTEXT: Final = "context.onnx"


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> "RtxBackend":
    """Open a bundle on the first RTX GPU; the threads are those of what is left to the CPU."""
    require("run on an RTX GPU through ONNX Runtime", NAME, PLUGIN)
    for lacking in (lacks(name), unfit(name, bundle)):
        if lacking is not None:
            raise BackendError(
                f"cannot use the backend {name}",
                found=lacking,
                hint="`lorair-run doctor` shows what runs here",
            )
    return RtxBackend(bundle, threads, jobs)


def lacks(name: str) -> str | None:
    """Return why no GPU can be used here; None if one can."""
    try:
        return None if _devices() else "ONNX Runtime lists no RTX GPU"
    except Exception as error:  # its exceptions share no base class but this
        return f"the plugin does not load: {str(error).splitlines()[0]}"


def unfit(name: str, bundle: Bundle) -> str | None:
    """Return why a bundle does not run there; None if it does."""
    if bundle.manifest.router_precision is not None:
        return "an int8 router is for CPUs; build without --router-int8"
    is_there = bundle.restorer_for("webgpu", tiled=True) is not None
    return None if is_there else "the bundle has no graph in a GPU's form; build it again"


@cache
def _devices() -> tuple[Any, ...]:
    """What the library lists for the plugin, which is registered first."""
    library, plugin = import_onnxruntime(), import_module(PLUGIN)
    library.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    return tuple(d for d in library.get_ep_devices() if d.ep_name == plugin.get_ep_name())


class RtxBackend(MergingBackend):
    """Runs a bundle with ONNX Runtime's provider for TensorRT for RTX.

    Args:
        bundle: to run.
        threads: of the CPU, for what is left to it; None for one a core.
        jobs: pictures at once; the GPU takes one after the other.
    """

    name = library = NAME

    def __init__(self, bundle: Bundle, threads: int | None, jobs: int = 1) -> None:
        super().__init__(bundle, threads, jobs)
        self._tiled_graph = bundle.restorer_for("webgpu", tiled=True)
        self.shares_means = True

    @property
    def description(self) -> str:
        """Libraries, versions and device."""
        plugin = import_module(PLUGIN).__version__
        return f"onnxruntime {self._library.__version__}, TensorRT for RTX by its plugin {plugin}"

    def _load(self, part: Part, path: Path, gates: Array | None = None) -> LoadedGraph:
        """Open the compiled graph that the cache has, which is made first if it has none."""
        versions = self._library.__version__, import_module(PLUGIN).__version__
        gpu = sorted(_devices()[0].device.metadata.items())
        bound = None if gates is None else gates.tobytes().hex()
        name = graph_cache.entry_name(NAME, *versions, gpu, self._bundle.content(path), bound)
        entry = graph_cache.fetch(name, lambda folder: self._compile(path, gates, folder))
        if entry is not None:
            try:
                kept = self._open(entry / _CONTEXT, self._options(), None, _open_session)
                return SessionGraph(kept)
            except BundleError:  # of another driver, or none was written
                graph_cache.forget(entry)
        return SessionGraph(self._open(path, self._options(), gates, _open_session))

    def _compile(self, path: Path, gates: Array | None, folder: Path) -> None:
        options = self._options()
        for key, value in {
            "enable": "1",
            "file_path": str(folder / _CONTEXT),
            "model_external_initializers_file_name": f"{_CONTEXT}.data",  # of what the CPU gets
        }.items():
            options.add_session_config_entry(f"ep.context_{key}", value)
        self._open(path, options, gates, _open_session)


def _open_session(graph: Path, options: Any) -> Any:
    options.add_provider_for_devices([_devices()[0]], {})
    return import_onnxruntime().InferenceSession(graph, options)
