"""The device memory of a backend: what lies where, and who has to go when it is full.

`Layout` says where arrays lie side by side, so that one copy moves them all; `DeviceBlock` is
their memory, on the device and on the host. `Scratch` is what all networks compute in, and
`Held` all that is kept for the next picture.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import OutOfMemoryError
from lorair.runtime.gpu.cuda import Gpu, Memory

if TYPE_CHECKING:
    from lorair.runtime.gpu.network import Branch

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


class Scratch:
    """Device memory that networks compute in, one after the other in the GPU's stream.

    It has the size that the largest of them needs. moves: counts its changes of place, after
    which graphs that were captured do not hold.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.memory: Memory | None = None
        self.moves = 0

    @property
    def size(self) -> int:
        """In bytes."""
        return 0 if self.memory is None else self.memory.size

    def reserve(self, size: int) -> Memory:
        """Return memory of at least this size. Raises OutOfMemoryError."""
        if self.memory is None or self.memory.size < size:
            self.close()
            self.memory = self._gpu.allocate(size)
        return self.memory

    def close(self) -> None:
        """Give it back, until it is asked for again."""
        if self.memory is not None:
            self.memory.close()
            self.memory = None
            self.moves += 1


class Entry(Protocol):
    """Something in device memory that can be made again."""

    @property
    def size(self) -> int:
        """In bytes, without the weights."""

    @property
    def branch(self) -> "Branch | None":
        """Whose weights it needs."""

    def close(self) -> None:
        """Give its memory back."""


E = TypeVar("E", bound=Entry)


class Held:
    """What is kept in device memory for the next picture.

    Args:
        scratch: goes too when memory runs out.
        budget: bytes that all entries and the weights that they need may take. Beyond it the
            least recently used go; those in use stay.
    """

    def __init__(self, scratch: Scratch, budget: int) -> None:
        self._scratch, self._budget = scratch, budget
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that are held and could be given back, scratch memory included."""
        return self._kept() + self._scratch.size

    def get(self, key: Hashable, make: Callable[[], E], *users: Hashable) -> E:
        """Return the entry of a key, made first if it is not there.

        Args:
            key: of the entry.
            make: makes it; everything but `users` goes if that finds no memory.
            users: keys of entries that are in use with it, and stay.

        Raises:
            OutOfMemoryError: even with everything else gone.
        """
        if key not in self._entries:
            try:
                entry = make()
            except OutOfMemoryError:
                if not self._drop(users):
                    raise
                entry = make()
            self._entries[key] = entry
        for used in (key, *users):
            self._entries.move_to_end(used)
        while len(self._entries) > 1 + len(users) and self._kept() > self._budget:
            self._entries.popitem(last=False)[1].close()
        return cast("E", self._entries[key])

    def _kept(self) -> int:
        branches = {entry.branch for entry in self._entries.values()} - {None}
        weights = sum(branch.size for branch in branches if branch is not None)
        return weights + sum(entry.size for entry in self._entries.values())

    def _drop(self, users: Sequence[Hashable]) -> bool:
        """Give all back but the users; whether there was anything."""
        others = [key for key in self._entries if key not in users]
        for key in others:
            self._entries.pop(key).close()
        has_scratch = self._scratch.memory is not None
        self._scratch.close()
        return bool(others) or has_scratch
