"""Pictures that wait beside the network: copied to and from the GPU while another is restored.

A slot has a stream of its own and room for one picture. Its copies need nobody's turn; the walk
takes the picture from there and puts the result back, on the device.
"""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, LifoQueue
from types import SimpleNamespace
from typing import Any, Final, Generic, TypeVar

import numpy as np

from lorair.runtime.errors import OutOfMemoryError
from lorair.runtime.gpu.cuda import Gpu, Memory
from lorair.runtime.gpu.plan import Pixels

_MOST: Final = 3
"""One on its way up, one in the network, one on its way down."""

T = TypeVar("T")

OnDevice = Callable[[Any], T]
"""Restores a picture on the device in place; see `GpuWalk.restore_on_device`."""


class Slots(Generic[T]):
    """As many slots as help.

    Args:
        gpu: that walks.
        jobs: threads that bring pictures.
    """

    def __init__(self, gpu: Gpu, jobs: int) -> None:
        self._all = [Slot(gpu) for _ in range(min(jobs, _MOST))]
        self._free: LifoQueue[Slot] = LifoQueue()
        for slot in self._all:
            self._free.put(slot)

    @property
    def size(self) -> int:
        """Bytes of device memory that they hold."""
        return sum(slot.size for slot in self._all)

    def restore(self, pixels: Pixels, restore: OnDevice[T]) -> tuple[Pixels, T]:
        """Restore a picture (H, W, 3) by way of a slot, when one is free.

        Returns:
            the restored picture, and what `restore` returned.

        Raises:
            OutOfMemoryError: no slot but those in use holds memory any more.
        """
        slot = self._free.get()
        try:
            return slot.restore(pixels, restore)
        except OutOfMemoryError:
            slot.close()
            self._close_free()
            raise
        finally:
            self._free.put(slot)

    def _close_free(self) -> None:
        taken = []
        with suppress(Empty):
            while True:
                taken.append(self._free.get_nowait())
        for slot in taken:
            slot.close()
            self._free.put(slot)


class Slot:
    """A stream beside that of the walk's GPU, and room for a picture on both sides of a copy."""

    def __init__(self, walks: Gpu) -> None:
        self._walks, self._gpu = walks, Gpu(ordinal=walks.ordinal)
        self._rooms: tuple[Memory, Memory] | None = None

    @property
    def size(self) -> int:
        """Bytes of device memory."""
        return 0 if self._rooms is None else self._rooms[0].size

    def restore(self, pixels: Pixels, restore: OnDevice[T]) -> tuple[Pixels, T]:
        """Copy a picture there, restore it in place, and copy it back; as `Slots.restore`."""
        with self._gpu.turn():
            device, pinned = self._reserve(pixels.nbytes)
            host = pinned.host[: pixels.nbytes].reshape(pixels.shape)
            host[...] = pixels
            try:
                self._gpu.copy(device.address, pinned.address, pixels.nbytes)
                done = restore(self._named(device, pixels))
                self._gpu.copy(pinned.address, device.address, pixels.nbytes)
            except BaseException:
                with suppress(Exception):  # the first error is the one to show
                    self._settle()
                raise
            self._gpu.synchronize()
            return host.copy(), done

    def close(self) -> None:
        """Give its memory back, until the next picture."""
        rooms, self._rooms = self._rooms, None
        for memory in rooms or ():
            memory.close()

    def _settle(self) -> None:
        """Wait until nothing uses the memory any more, of work that was cut short."""
        with self._walks.turn():
            self._walks.synchronize()
        self._gpu.synchronize()

    def _reserve(self, size: int) -> tuple[Memory, Memory]:
        if self._rooms is None or self.size < size:
            self.close()
            device = self._gpu.allocate(size)
            try:
                self._rooms = device, self._gpu.allocate_pinned(size)
            except BaseException:
                device.close()
                raise
        return self._rooms

    def _named(self, memory: Memory, pixels: Pixels) -> Any:
        """The picture on the device, as one that this slot's stream makes."""
        place = {"shape": pixels.shape, "typestr": np.dtype(np.uint8).str, "version": 3}
        place |= {"data": (memory.address, False), "stream": self._gpu.stream}
        return SimpleNamespace(__cuda_array_interface__=place)
