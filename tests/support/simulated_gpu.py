"""A GPU made of host memory: networks run in ONNX Runtime, the picture ends in NumPy.

It takes the place of `lorair.runtime.gpu.cuda.Gpu`. Every address is checked to lie in memory
that is allocated; what is captured is recorded with its arguments and run again as it was.
With `interpret` the picture ends are the real kernels in Triton's interpreter, a hundred
times slower.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.errors import OutOfMemoryError
from lorair.runtime.gpu.cuda import Memory
from lorair.runtime.gpu.driver import GpuInfo
from lorair.runtime.gpu.memory import Scratch
from lorair.runtime.gpu.network import Tensor
from lorair.runtime.gpu.resampling import PRECISION_BITS
from lorair.runtime.pixels import MEAN, STD

_DTYPES = {"fp32": np.float32, "fp16": np.float16, "i32": np.int32, "u8": np.uint8}


class SimulatedGpu:
    info = GpuInfo("a simulated GPU", 89, 1 << 30)
    stream, ordinal, can_capture = 7, 0, True

    def __init__(self, memory: int = 1 << 30, *, interpret: bool = False) -> None:
        self.memory, self.used, self.interpret = memory, 0, interpret
        self.captures = self.launches = 0
        self._turn = threading.RLock()
        self._active: int | None = None
        self._blocks: dict[int, np.ndarray] = {}
        self._recording: list[Callable[[], None]] | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._turn:
            before, self._active = self._active, threading.get_ident()
            try:
                yield
            finally:
                self._active = before

    def assert_turn(self) -> None:
        """It is the calling thread's."""
        assert self._active == threading.get_ident()

    def free_memory(self) -> int:
        return self.memory - self.used

    def allocate(self, size: int) -> Memory:
        if self.used + size > self.memory:
            raise OutOfMemoryError("the simulated GPU is full")
        self.used += size
        return self._allocate(size, size)

    def allocate_pinned(self, size: int) -> Memory:
        return self._allocate(size, 0)

    def _allocate(self, size: int, counted: int) -> Memory:
        assert self._recording is None, "nothing may be allocated in a capture"
        raw = np.full(size + 256, 0xA5, np.uint8)  # not zero: nobody may count on that
        start = -raw.ctypes.data % 256
        block = raw[start : start + size]
        self._blocks[block.ctypes.data] = block
        return Memory(block.ctypes.data, size, _Allocation(self, block, counted), block)

    def at(self, address: int, size: int) -> np.ndarray:
        """Memory at an address, to the end of its block if size is 0."""
        for start, block in self._blocks.items():
            if start <= address < start + len(block):
                assert address + size <= start + len(block), "beyond the end of an allocation"
                found = block[address - start :]
                return found[:size] if size else found
        raise AssertionError(f"no memory at {address}")

    def array(self, tensor: Tensor) -> np.ndarray:
        size = 4 * int(np.prod(tensor.shape))
        return self.at(tensor.address, size).view(np.float32).reshape(tensor.shape)

    def copy(self, target: int, source: int, size: int) -> None:
        self.do(lambda: np.copyto(self.at(target, size), self.at(source, size)))

    def clear(self, address: int, size: int) -> None:
        self.do(lambda: self.at(address, size).fill(0))

    def launcher(self, folder: Path) -> "SimulatedLauncher":
        return SimulatedLauncher(self)

    def synchronize(self) -> None:
        assert self._recording is None, "nobody may wait in a capture"

    def capture(self, work: Callable[[], None]) -> "SimulatedGraph":
        self.captures += 1
        self._recording = []
        try:
            work()
            return SimulatedGraph(self, self._recording)
        finally:
            self._recording = None

    def do(self, operation: Callable[[], None]) -> None:
        """Run it, or record it if a graph is captured."""
        if self._recording is None:
            operation()
        else:
            self._recording.append(operation)


class _Allocation:
    def __init__(self, gpu: SimulatedGpu, block: np.ndarray, counted: int) -> None:
        self._gpu, self._block, self._counted = gpu, block, counted

    def close(self) -> None:
        del self._gpu._blocks[self._block.ctypes.data]
        self._gpu.used -= self._counted


class SimulatedGraph:
    def __init__(self, gpu: SimulatedGpu, operations: list[Callable[[], None]]) -> None:
        self._gpu, self._operations = gpu, operations

    def launch(self) -> None:
        self._gpu.launches += 1
        for operation in self._operations:
            operation()

    def close(self) -> None:
        self._operations = []


class SimulatedLauncher:
    """Runs a compiled kernel's source in the interpreter, from the launch's raw arguments."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu = gpu
        self._loaded: set[str] = set()

    def load(self, kernel: Compiled) -> None:
        assert self._gpu._recording is None, "nothing may be loaded in a capture"
        self._loaded.add(kernel.name)

    def launch(
        self, kernel: Compiled, grid: tuple[int, int, int], arguments: Sequence[Any], stream: int
    ) -> None:
        assert kernel.name in self._loaded
        assert stream == self._gpu.stream
        for (name, _), value in zip(kernel.arguments, arguments, strict=True):
            assert name not in kernel.aligned or value % 16 == 0, f"{name} is not aligned"
        self._gpu.do(lambda: self._run(kernel, grid, arguments))

    def _run(self, kernel: Compiled, grid: Any, arguments: Sequence[Any]) -> None:
        values: dict[str, Any] = {}
        for (name, kind), value in zip(kernel.arguments, arguments, strict=True):
            values[name] = self._array(value, kind) if kind.startswith("*") else value
        if self._gpu.interpret:
            _interpret(kernel, grid, values)
        else:
            _IN_NUMPY[kernel.name](**values)

    def _array(self, address: int, kind: str) -> np.ndarray:
        """From an address to the end of its block: a kernel knows no more."""
        found, dtype = self._gpu.at(address, 0), np.dtype(_DTYPES[kind[1:]])
        return found[: len(found) // dtype.itemsize * dtype.itemsize].view(dtype)


def _interpret(kernel: Compiled, grid: Any, values: dict[str, Any]) -> None:
    import torch

    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
    picture_kernels()[kernel.name].function[grid](**tensors, **kernel.constants)


def _to_8bit(total: np.ndarray) -> np.ndarray:
    return ((total + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS).clip(0, 255)


def _rows(
    pixels: Any, first: Any, counts: Any, coefficients: Any, resized: Any,
    taps: int, height: int, width: int, new_width: int,
) -> None:  # fmt: skip
    picture = pixels[: height * width * 3].reshape(height, width, 3).astype(np.int64)
    made = np.zeros((height, new_width, 3), np.int64)
    table = coefficients[: taps * new_width].reshape(taps, new_width)
    for column in range(new_width):
        assert counts[column] <= taps, "the graph looks at too few taps"
        seen = slice(first[column], first[column] + counts[column])
        made[:, column] = np.einsum("t,htc->hc", table[: counts[column], column], picture[:, seen])
    resized[: made.size] = _to_8bit(made).ravel()


def _columns(
    resized: Any, first: Any, counts: Any, coefficients: Any, views: Any, side: int, tiles: int
) -> None:
    width = tiles * side
    rows = resized[: len(resized) // (3 * width) * 3 * width].reshape(-1, width, 3)
    for row in range(width):
        seen = rows[first[row] : first[row] + counts[row]].astype(np.int64)
        table = coefficients[row::width][: counts[row]]
        line = _to_8bit(np.tensordot(table, seen, 1)).astype(np.float32)
        normed = (line / np.float32(255) - MEAN) / STD
        for tile in range(tiles):
            view = tiles - 1 + row // side * tiles + tile
            target = views[view * 3 * side * side :][: 3 * side * side].reshape(3, side, side)
            target[:, row % side] = normed[tile * side : (tile + 1) * side].T


def _unpack(
    pixels: Any, planes: Any, height: int, width: int, padded_height: int, padded_width: int
) -> None:
    target = planes[: 3 * padded_height * padded_width].reshape(3, padded_height, padded_width)
    target[...] = 0
    picture = pixels[: height * width * 3].reshape(height, width, 3)
    target[:, :height, :width] = picture.transpose(2, 0, 1) / np.float32(255)


def _pack(
    planes: Any, pixels: Any, bad: Any, width: int, padded_height: int, padded_width: int
) -> None:
    source = planes[: 3 * padded_height * padded_width].reshape(3, padded_height, padded_width)
    height = min(padded_height, len(pixels) // (3 * width))
    source = source[:, :height, :width].transpose(1, 2, 0)
    if not np.isfinite(source).all():
        bad[0] = 1
    made = np.rint(np.nan_to_num(source).clip(0, 1) * np.float32(255)).astype(np.uint8)
    pixels[: made.size] = made.ravel()


_IN_NUMPY: dict[str, Callable[..., None]] = {
    "resize_rows": _rows,
    "resize_columns_fp32": _columns,
    "unpack_u8_fp32": _unpack,
    "pack_u8_fp32": _pack,
}


@cache
def picture_kernels() -> dict[str, Any]:
    """The picture ends' variants by name, made for the interpreter."""
    from lorair.kernels.variants import picture_variants

    return {variant.name: variant for variant in picture_variants()}


def compiled_pictures() -> dict[str, Compiled]:
    """As if the picture ends had been compiled for the simulated GPU."""
    return {
        name: Compiled(
            name, name, 89, "cubin", f"{name}.cubin", name, tuple(v.signature.items()),
            v.aligned, v.constants, (32 * v.warps, 1, 1), 0, 32, 0,
        )
        for name, v in picture_kernels().items()
    }  # fmt: skip


class SimulatedBranch:
    """A graph that ONNX Runtime runs on the CPU, from and to the simulated GPU's memory."""

    WORKSPACE, size = 1 << 16, 1 << 18

    def __init__(
        self, gpu: SimulatedGpu, session: Any, scratch: Scratch, *, capturable: bool = True
    ) -> None:
        self._gpu, self._session, self._scratch = gpu, session, scratch
        self.capturable, self.bound = capturable, 0

    def bind(self, tensors: Mapping[str, Tensor]) -> "_Run":
        names = {v.name for v in (*self._session.get_inputs(), *self._session.get_outputs())}
        assert names <= set(tensors)
        self._scratch.reserve(self.WORKSPACE)
        self.bound += 1
        return _Run(self._gpu, self._session, {n: tensors[n] for n in names}, self)


class _Run:
    size = 0

    def __init__(
        self, gpu: SimulatedGpu, session: Any, tensors: Any, branch: SimulatedBranch
    ) -> None:
        self._gpu, self._session, self._tensors, self._branch = gpu, session, tensors, branch
        self.capturable = branch.capturable

    def prepare(self) -> int:
        self._branch._scratch.reserve(self._branch.WORKSPACE)
        return self._branch._scratch.moves

    def enqueue(self) -> None:
        assert self.capturable or self._gpu._recording is None, "this network is not capturable"
        memory = self._branch._scratch.memory
        assert memory is not None
        self._gpu.do(lambda: self._run(memory.address))

    def _run(self, scratch: int) -> None:
        self._gpu.at(scratch, self._branch.WORKSPACE).fill(0x5A)  # it has to be there still
        arrays = {name: self._gpu.array(tensor) for name, tensor in self._tensors.items()}
        outputs = [value.name for value in self._session.get_outputs()]
        inputs = {name: value for name, value in arrays.items() if name not in outputs}
        for name, value in zip(outputs, self._session.run(outputs, inputs), strict=True):
            arrays[name][...] = value

    def close(self) -> None:
        self._branch.bound -= 1
