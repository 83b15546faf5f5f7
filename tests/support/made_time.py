"""Threads in made time: of all that can go on, the one whose clock is behind does.

One thread runs at once, so a run is the same every time, and what it takes is a sum, however
slow the machine is. The driver keeps each thread's clock, which passes at a stream's end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cuda_driver import Driver


class MadeTime:
    """The clocks of so many threads, which share out so many items."""

    def __init__(self, driver: Driver, threads: int, items: int) -> None:
        self.driver, self.end = driver, 0
        self._changed = threading.Condition()
        self._clocks: dict[int, int] = {}
        self._waits: dict[int, Things] = {}
        self._all_there, self._left = threading.Barrier(threads), items

    @contextmanager
    def item(self) -> Iterator[None]:
        """Work of a thread on an item; the thread is counted on until no item is left for it."""
        me = threading.get_ident()
        if me not in self._clocks:
            with self._changed:
                self._clocks[me], self._left = 0, self._left - 1
            self.driver.now = 0
            self._all_there.wait()
        self.spend(0)
        yield
        with self._changed:
            self.end, self._left = max(self.end, self.driver.now), self._left - 1
            if self._left < 0:
                del self._clocks[me]
            self._changed.notify_all()

    def spend(self, time: int) -> None:
        """Let time pass for this thread, and others come first that are behind."""
        self.driver.now += time
        self.until(lambda: True)

    def until(self, is_ready: Callable[[], bool], things: "Things | None" = None) -> None:
        """Wait for something, of things that others may have, and for this thread's turn."""
        me = threading.get_ident()
        with self._changed:
            self._clocks[me] = self.driver.now
            if things is not None:
                self._waits[me] = things
            self._changed.notify_all()
            self._changed.wait_for(lambda: is_ready() and self._first() == me)
            self._waits.pop(me, None)

    def _first(self) -> int:
        able = {
            me: max(clock, self._waits[me].since) if me in self._waits else clock
            for me, clock in self._clocks.items()
            if me not in self._waits or self._waits[me].free
        }
        # Of those who wait for the same, the first who came.
        return min(able, key=lambda me: (able[me], self._clocks[me], me))


class Things:
    """What one thread uses at a time: a lock is one thing, a queue of slots several."""

    def __init__(self, time: MadeTime, *things: Any) -> None:
        self._time, self.free, self.since = time, list(things), 0

    def get(self) -> Any:
        self._time.until(lambda: bool(self.free), self)
        self._time.driver.now = max(self._time.driver.now, self.since)
        return self.free.pop()

    def put(self, thing: Any) -> None:
        self.free.append(thing)
        self.since = self._time.driver.now
        self._time.spend(0)

    def __enter__(self) -> None:
        self._held = self.get()

    def __exit__(self, *_: object) -> None:
        self.put(self._held)
