"""ONNX Runtime's CUDA provider: a GPU without TensorRT. Weights and activations stay there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from lorair.runtime.backends.gpu import GpuBackend
from lorair.runtime.backends.graphs import (
    Shapes,
    check_shapes,
    restorer_shapes,
    router_shapes,
    run_failure,
)
from lorair.runtime.backends.onnxruntime import import_onnxruntime, session_options, shapes_of
from lorair.runtime.bundle.manifest import ROUTER, Bundle
from lorair.runtime.errors import BackendError, BundleError
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.driver import no_gpu
from lorair.runtime.gpu.memory import Scratch
from lorair.runtime.gpu.network import Branch, Tensor
from lorair.runtime.gpu.plan import Size
from lorair.runtime.pixels import Array
from lorair.runtime.system.extras import install_command

PROVIDER: Final = "CUDAExecutionProvider"
_DEVICE: Final = "cuda"


def open_backend(name: str, bundle: Bundle, threads: int | None, jobs: int) -> GpuBackend:
    """Open a bundle on the first GPU; threads are the CPU's."""
    return open_onnxruntime_cuda(bundle, jobs=jobs)


def lacks(name: str) -> str | None:
    """Return why no GPU can be used here; None if one can."""
    return no_gpu()


def open_onnxruntime_cuda(bundle: Bundle, gpu: Gpu | None = None, jobs: int = 1) -> GpuBackend:
    """A backend on the bundle's portable graphs.

    Args:
        bundle: to run.
        gpu: to run on; None for the first, with a stream of its own.
        jobs: pictures at once.

    Raises:
        DependencyError: onnxruntime or cuda-core is not installed.
        BackendError: there is no GPU, or onnxruntime was built without CUDA.
    """
    library = import_onnxruntime()
    if PROVIDER not in library.get_available_providers():
        raise BackendError(
            "cannot run on the GPU",
            wanted=f"an onnxruntime with {PROVIDER}",
            found=", ".join(library.get_available_providers()),
            hint=f"pip uninstall onnxruntime, then {install_command('cuda')}",
        )
    # It finds CUDA's libraries in their packages only if it is told to before the first session.
    if hasattr(library, "preload_dlls"):  # 1.21
        library.preload_dlls()
    gpu = gpu or Gpu()
    networks = SessionNetworks(library, bundle, gpu)
    name = f"onnxruntime {library.__version__}"
    return GpuBackend("onnxruntime-cuda", name, bundle, gpu, networks, jobs)


class SessionNetworks:
    """The bundle's two graphs as sessions on the GPU, each made when it is needed."""

    def __init__(self, library: Any, bundle: Bundle, gpu: Gpu) -> None:
        self._library, self._bundle, self._gpu = library, bundle, gpu
        self._sessions: dict[Path, SessionBranch] = {}
        self.scratch = Scratch(gpu)

    def largest(self) -> None:
        """As `Networks` says."""

    def bytes_a_pixel(self) -> None:
        """As `Networks` says."""

    def reserved(self) -> int:
        """As `Networks` says."""
        is_loaded = self._bundle.router in self._sessions
        return 0 if is_loaded else self._bundle.manifest.files[f"{ROUTER}.data"].size

    def router(self) -> Branch:
        """As `Networks` says."""
        return self._branch(self._bundle.router, router_shapes(self._bundle.manifest.model))

    def restorer(self, size: Size, gates: Array) -> Branch:
        """As `Networks` says; one takes every size and all gates."""
        shapes = restorer_shapes(self._bundle.manifest.model, bound=False)
        return self._branch(self._bundle.restorer, shapes)

    def _branch(self, graph: Path, shapes: Shapes) -> "SessionBranch":
        if graph not in self._sessions:
            session = self._open(graph)
            check_shapes(graph, shapes_of(session), shapes)
            self._sessions[graph] = SessionBranch(self._library, session, self._gpu.ordinal)
        return self._sessions[graph]

    def _open(self, graph: Path) -> Any:
        options = session_options()
        provider = {
            "device_id": str(self._gpu.ordinal),
            "user_compute_stream": str(self._gpu.stream),
            "use_tf32": "0",  # products of 10-bit mantissas; an fp32 bundle promises more
            # The default tries every algorithm for every new size, which takes seconds.
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        }
        try:
            session = self._library.InferenceSession(
                graph, options, providers=[(PROVIDER, provider)]
            )
        except Exception as error:  # its exceptions share no base class but this
            raise BundleError(
                f"onnxruntime cannot load {graph} on the GPU", found=str(error)
            ) from error
        # Where CUDA's libraries are missing it takes the CPU, and says so in its log only.
        if session.get_providers()[0] != PROVIDER:
            raise BackendError(
                "cannot run on the GPU",
                wanted="CUDA's and cuDNN's libraries",
                found="onnxruntime could not load them",
                hint="pip install 'onnxruntime-gpu[cuda,cudnn]'",
            )
        return session


class SessionBranch:
    """A session. Its weights stay once they are there, so no bytes can be had back."""

    size = 0

    def __init__(self, library: Any, session: Any, ordinal: int) -> None:
        self._library, self._session, self._ordinal = library, session, ordinal

    def bind(self, tensors: Mapping[str, Tensor]) -> "SessionRun":
        """Inputs and outputs where they are: nothing is copied to the host and back."""
        binding = self._session.io_binding()
        inputs = {value.name for value in self._session.get_inputs()}
        for name, (address, shape) in tensors.items():
            bind = binding.bind_input if name in inputs else binding.bind_output
            bind(name, _DEVICE, self._ordinal, np.float32, shape, address)
        return SessionRun(self._library, self._session, binding)


class SessionRun:
    """A session with its places. What it needs in between is the provider's arena's.

    It allocates as it runs, so it is never part of a captured graph.
    """

    size = 0
    capturable = False

    def __init__(self, library: Any, session: Any, binding: Any) -> None:
        self._session, self._binding = session, binding
        self._options = library.RunOptions()
        # Our stream orders what comes after; nobody has to wait here.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def prepare(self) -> int:
        """As `Bound` says."""
        return 0

    def enqueue(self) -> None:
        """As `Bound` says."""
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # its exceptions share no base class but this
            raise run_failure("onnxruntime", "a network on the GPU", error) from error

    def close(self) -> None:
        """As `Bound` says."""
        self._binding = None
