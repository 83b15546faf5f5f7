"""Several arrays in one piece of memory, so that one copy moves them all.

`Layout` says where each lies, `DeviceBlock` is the memory, on the device and on the host.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lorair.runtime.gpu.cuda import Gpu

Shape = tuple[int, ...]

_ALIGNMENT = 256
"""Of each array's beginning in bytes: a whole line of any cache, and what TensorRT asks for."""


class Layout:
    """Where each array lies.

    Args:
        fields: name -> (shape, dtype), in the order in which they lie.
    """

    def __init__(self, fields: Mapping[str, tuple[Shape, npt.DTypeLike]]) -> None:
        self._fields = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in fields.items()}
        self._offsets: dict[str, int] = {}
        self.size = 0
        for name in fields:
            self._offsets[name] = self.size
            self.size += -(-self.bytes_of(name) // _ALIGNMENT) * _ALIGNMENT

    def offset(self, name: str) -> int:
        """Of an array's beginning, in bytes."""
        return self._offsets[name]

    def bytes_of(self, name: str) -> int:
        """An array's size."""
        shape, dtype = self._fields[name]
        return math.prod(shape) * dtype.itemsize

    def span(self, names: Sequence[str]) -> tuple[int, int]:
        """Offset and bytes of neighbours, from the first to the last; of all if none is named."""
        if not names:
            return 0, self.size
        start = self._offsets[names[0]]
        return start, self._offsets[names[-1]] + self.bytes_of(names[-1]) - start

    def view(self, block: npt.NDArray[np.uint8], name: str) -> npt.NDArray[Any]:
        """An array within a block of host memory of `size` bytes."""
        shape, dtype = self._fields[name]
        start = self._offsets[name]
        return block[start : start + self.bytes_of(name)].view(dtype).reshape(shape)


class DeviceBlock:
    """Arrays in one piece of memory on the device, and the same on the host, page-locked."""

    def __init__(self, gpu: Gpu, layout: Layout, *, on_host: bool = True) -> None:
        self._gpu, self._layout = gpu, layout
        self._device = gpu.allocate(layout.size)
        self._host = gpu.allocate_pinned(layout.size) if on_host else None
        self.size = layout.size

    def address(self, name: str) -> int:
        """Of an array on the device."""
        return self._device.address + self._layout.offset(name)

    def array(self, name: str) -> npt.NDArray[np.generic]:
        """An array on the host."""
        assert self._host is not None
        return self._layout.view(self._host.host, name)

    def upload(self, *names: str) -> None:
        """Copy the arrays to the device: all, or those named, which lie side by side."""
        assert self._host is not None
        start, size = self._layout.span(names)
        self._gpu.copy(self._device.address + start, self._host.address + start, size)

    def download(self, *names: str) -> None:
        """The same to the host."""
        assert self._host is not None
        start, size = self._layout.span(names)
        self._gpu.copy(self._host.address + start, self._device.address + start, size)

    def close(self) -> None:
        """Give both back."""
        self._device.close()
        if self._host is not None:
            self._host.close()
