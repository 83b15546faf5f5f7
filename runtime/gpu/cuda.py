"""One GPU: memory, copies, kernels and captured graphs, all in one stream; with cuda-core.

The GPU is touched when a `Gpu` is made, not when this is imported. A `Gpu` of its own works
in the device's primary context with a stream of its own; `from_pycuda` takes both from a
host program that has them already.
"""

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.errors import (
    BackendError,
    DependencyError,
    InternalError,
    OptionError,
    OutOfMemoryError,
    PictureError,
)
from lorair.runtime.gpu.driver import DriverInfo, examine, missing_gpu

_SCALARS: Final[dict[str, Any]] = {
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "fp32": ctypes.c_float,
}
_SCRATCH: Final = (0, 0)
"""Two pointers that every kernel of Triton takes at the end; ours use neither."""

_LEGACY: Final = (0, 1)
"""Handles of the stream that waits for all others: PyTorch's default, and its other name."""

_DEFAULT_SHARED: Final = 48 * 1024
"""Bytes of shared memory that a kernel may use without asking for more."""


@dataclass(frozen=True, eq=False)
class Memory:
    """A piece of device memory, or of page-locked host memory, which has an `array`.

    address: as the device sees it. size: in bytes. array: (size) uint8 on the host.
    """

    address: int
    size: int
    buffer: Any
    array: npt.NDArray[np.uint8] | None = None

    @property
    def host(self) -> npt.NDArray[np.uint8]:
        """The array of page-locked memory."""
        assert self.array is not None
        return self.array

    def close(self) -> None:
        """Give it back."""
        self.buffer.close()


class Launcher:
    """Loads a folder's compiled kernels and launches them on any stream.

    Args:
        folder: with the kernels' files, `kernels/` of a bundle.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, tuple[Any, Any]] = {}  # the code object keeps the function alive

    def load(self, kernel: Compiled) -> None:
        """Load a kernel now, so that no launch has to: none may while a graph is captured."""
        from cuda.core import ObjectCode

        if kernel.file in self._loaded:
            return
        path = str(self._folder / kernel.file)
        read = ObjectCode.from_cubin if kernel.format == "cubin" else ObjectCode.from_ptx
        with _failing_as(f"cannot load the kernel {path}"):
            code = read(path)
            function = code.get_kernel(kernel.entry)
            if kernel.shared > _DEFAULT_SHARED:
                _allow_shared(function, kernel.shared)
        self._loaded[kernel.file] = code, function

    def launch(
        self,
        kernel: Compiled,
        grid: tuple[int, int, int],
        arguments: Sequence[int | float],
        stream: int,
    ) -> None:
        """Start a kernel that is loaded.

        Args:
            kernel: that `load` has seen.
            grid: programs along each axis.
            arguments: as `kernel.arguments` lists them; pointers are addresses.
            stream: its handle.
        """
        from cuda.core import LaunchConfig, Stream, launch

        config = LaunchConfig(grid=grid, block=kernel.block, shmem_size=kernel.shared)
        values = [
            value if kind.startswith("*") else _SCALARS[kind](value)
            for (_, kind), value in zip(kernel.arguments, arguments, strict=True)
        ]
        with _failing_as(f"the kernel {kernel.name}"):
            launch(
                Stream.from_handle(stream), config, self._loaded[kernel.file][1], *values, *_SCRATCH
            )


class Gpu:
    """A GPU and the stream in which all work on it runs.

    Args:
        stream: the handle of a stream that is there already; None for a new one.
        ordinal: of the GPU, if there are several.

    Raises:
        BackendError: there is no GPU.
        DependencyError: cuda-core is not installed.
    """

    def __init__(self, stream: int | None = None, ordinal: int = 0) -> None:
        if reason := missing_gpu():
            raise BackendError("cannot use a GPU", wanted="an NVIDIA GPU", found=reason)
        try:
            from cuda.core import Device, Stream
        except ImportError as error:
            raise DependencyError(
                "cannot use the GPU",
                wanted="the packages cuda-core and cuda-bindings",
                found=str(error),
                hint="pip install cuda-core cuda-bindings",
            ) from error
        with _failing_as("the GPU"):
            self._device = Device(ordinal)
            self._device.set_current()
            self._stream = (
                self._device.create_stream() if stream is None else Stream.from_handle(stream)
            )
        driver = examine()
        assert isinstance(driver, DriverInfo)
        self.info, self.ordinal = driver.gpus[ordinal], ordinal
        self._lock = threading.RLock()

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.handle)

    @property
    def can_capture(self) -> bool:
        """Whether graphs can be captured in the stream: not in the legacy one."""
        return self.stream not in _LEGACY

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Make this GPU the calling thread's, and let no other thread work on it meanwhile."""
        with self._lock:
            with _failing_as("the GPU"):
                self._device.set_current()
            yield

    def free_memory(self) -> int:
        """Bytes of device memory that nobody uses; what the pool keeps for us is among them."""
        pool = self._device.memory_resource.attributes
        kept = pool.reserved_mem_current - pool.used_mem_current
        return int(_driver("cuMemGetInfo")[0]) + int(kept)

    def allocate(self, size: int) -> Memory:
        """Device memory. Raises OutOfMemoryError."""
        with _failing_as(f"allocating {size} bytes on the GPU"):
            buffer = self._device.allocate(size, stream=self._stream)
        return Memory(int(buffer.handle), size, buffer)

    def allocate_pinned(self, size: int) -> Memory:
        """Page-locked host memory, which the GPU copies from and to by itself."""
        from cuda.core import LegacyPinnedMemoryResource

        with _failing_as(f"allocating {size} bytes of page-locked memory"):
            buffer = LegacyPinnedMemoryResource().allocate(size)
        address = int(buffer.handle)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return Memory(address, size, buffer, array)

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy bytes between any two addresses, in stream order."""
        _driver("cuMemcpyAsync", target, source, size, self.stream)

    def copy_rows(
        self, target: tuple[int, int], source: tuple[int, int], width: int, rows: int
    ) -> None:
        """Copy rows of bytes on the device, in stream order.

        Args:
            target: address, and bytes from row to row.
            source: the same.
            width: bytes to copy of each row.
            rows: how many.
        """
        from cuda.bindings.driver import CUDA_MEMCPY2D, CUmemorytype

        copy = CUDA_MEMCPY2D()
        copy.srcMemoryType = copy.dstMemoryType = CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy.dstDevice, copy.dstPitch = target
        copy.srcDevice, copy.srcPitch = source
        copy.WidthInBytes, copy.Height = width, rows
        _driver("cuMemcpy2DAsync", copy, self.stream)

    def wait_for(self, stream: int | None) -> None:
        """Let later work wait for what is in another stream now.

        Args:
            stream: its handle, 1 for the legacy one; None for none.
        """
        from cuda.core import Stream

        if stream not in (None, self.stream):
            with _failing_as("waiting for another stream"):
                self._stream.wait(Stream.from_handle(stream))

    def clear(self, address: int, size: int) -> None:
        """Set bytes to zero, in stream order."""
        _driver("cuMemsetD8Async", address, 0, size, self.stream)

    def launcher(self, folder: Path) -> Launcher:
        """For the kernels of a folder."""
        return Launcher(folder)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        with _failing_as("the GPU"):
            self._stream.sync()

    def capture(self, work: Callable[[], None]) -> "Graph":
        """What `work` puts into the stream, as one graph; it does not run now.

        Args:
            work: allocates, loads and waits for nothing. Run it once before.
        """
        with _failing_as("capturing a graph"), _no_garbage_collected():
            builder = self._stream.create_graph_builder().begin_building("thread_local")
            try:
                work()
            except BaseException:
                with suppress(Exception):  # the first error is the one to show
                    builder.end_building()
                raise
            graph = builder.end_building().complete()
            graph.upload(self._stream)
        return Graph(graph, self._stream)


class Graph:
    """Captured work."""

    def __init__(self, graph: Any, stream: Any) -> None:
        self._graph, self._stream = graph, stream

    def launch(self) -> None:
        """Run it, in stream order."""
        with _failing_as("a captured graph"):
            self._graph.launch(self._stream)

    def close(self) -> None:
        """Give it back."""
        self._graph.close()


def from_pycuda(stream: Any) -> Gpu:
    """A PyCUDA program's stream, to be shared.

    Args:
        stream: a `pycuda.driver.Stream`. PyCUDA must work in the primary context, which
            `import pycuda.autoprimaryctx` makes it do. Keep the stream alive.

    Raises:
        OptionError: PyCUDA's context is not the primary one; it is current again.
    """
    before = int(_driver("cuCtxGetCurrent"))
    try:
        gpu = Gpu(int(stream.handle))
        if before and before != int(_driver("cuCtxGetCurrent")):
            raise OptionError(
                "from_pycuda",
                wanted="PyCUDA in the GPU's primary context",
                found="a context of its own",
                hint="import pycuda.autoprimaryctx instead of pycuda.autoinit",
            )
    except BaseException:
        _driver("cuCtxSetCurrent", before)
        raise
    return gpu


def device_picture(array: Any) -> tuple[int, int, int]:
    """Address, height and width of a picture that is on the GPU already.

    Args:
        array: (H, W, 3) uint8, C-contiguous, with `__cuda_array_interface__`: a PyCUDA
            GPUArray, a CuPy array, a PyTorch tensor.

    Raises:
        PictureError: it is not such an array.
    """
    found = getattr(array, "__cuda_array_interface__", None)
    if found is None:
        raise _no_picture("an array with __cuda_array_interface__", type(array).__name__)
    shape, kind = tuple(found["shape"]), found["typestr"]
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise _no_picture("shape (height, width, 3)", str(shape))
    if kind != "|u1":
        raise _no_picture("uint8", kind)
    strides = found.get("strides")
    if strides is not None and tuple(strides) != (3 * shape[1], 3, 1):
        raise _no_picture("C-contiguous values", f"strides {tuple(strides)}")
    return int(found["data"][0]), int(shape[0]), int(shape[1])


def stream_of(array: Any) -> int | None:
    """The stream's handle in which an array is made, if it says so: CuPy's do."""
    stream = array.__cuda_array_interface__.get("stream")
    return None if stream is None else int(stream)


def _no_picture(wanted: str, found: str) -> PictureError:
    return PictureError("not a picture on the GPU", wanted=wanted, found=found)


def _driver(function: str, *arguments: Any) -> Any:
    """Call the driver; its result, or a tuple of them."""
    from cuda.bindings import driver

    with _failing_as(f"the driver's {function}"):
        code, *results = getattr(driver, function)(*arguments)
        if code:
            raise RuntimeError(code.name)
    return results[0] if len(results) == 1 else tuple(results)


def _allow_shared(function: Any, size: int) -> None:
    from cuda.bindings.driver import CUfunction_attribute

    attribute = CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    device = _driver("cuCtxGetDevice")
    _driver("cuKernelSetAttribute", attribute, size, function.handle, device)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """What is dropped may own page-locked memory, which must not be freed in a capture."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Errors of cuda-core and the driver as one of ours."""
    try:
        yield
    except (OutOfMemoryError, InternalError):
        raise
    except Exception as error:  # theirs share no base class but this
        if "OUT_OF_MEMORY" in str(error):
            raise OutOfMemoryError(
                f"{what}: the GPU's memory is full", hint="try a smaller picture or tile"
            ) from error
        raise InternalError(f"{what} failed", found=f"{type(error).__name__}: {error}") from error
