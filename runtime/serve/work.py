"""A bounded queue in front of a fixed number of workers."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Generic, Literal, TypeVar

from lorair.runtime.errors import BusyError

T = TypeVar("T")

State = Literal["queued", "running", "done"]

_MEMORY: Final = 0.8
"""Of the mean time of a piece of work, how much of the older ones stays with each new one."""

_FIRST_GUESS, _LONGEST_WAIT = 1.0, 120


class Work(Generic[T]):
    """A piece of work and what becomes of it.

    future: its result. fraction: how much of it is done, 0 to 1, where it says so. detail: what
    was done last, in words.
    waited: seconds in the queue, once it runs.
    """

    def __init__(self, do: "Callable[[Work[T]], T]") -> None:
        self.do: Callable[[Work[T]], T] | None = do
        self.future: Future[T] = Future()
        self.fraction, self.detail = 0.0, ""
        self.waited = 0.0
        self.state: State = "queued"
        self._stop = threading.Event()
        self._since = time.monotonic()

    def go_on(self) -> None:
        """Called between the stages of the work; ends it if nobody wants the result any more.

        Raises StoppedError: so that it ends.
        """
        if self._stop.is_set():
            raise StoppedError

    def report(self, fraction: float, detail: str) -> None:
        """As `Restorer.restore` reports progress; a chance to end as well."""
        self.fraction, self.detail = fraction, detail
        self.go_on()

    def stop(self) -> None:
        """Have it end at its next `go_on`."""
        self._stop.set()

    def run(self) -> None:
        """Do it; the future has the result or the error."""
        do, self.do = self.do, None
        self.state, self.waited = "running", time.monotonic() - self._since
        try:
            self.go_on()
            assert do is not None
            result = do(self)
        except BaseException as error:  # a worker outlives whatever its work does
            self.state = "done"
            self.future.set_exception(error)
        else:
            self.state = "done"
            self.future.set_result(result)


class StoppedError(Exception):
    """The work ends because nobody wants it; never an answer."""


class WorkQueue:
    """Does pieces of work in order, `workers` at once.

    Args:
        workers: threads.
        limit: pieces that may wait beside those in work.
    """

    def __init__(self, workers: int, limit: int) -> None:
        self.workers, self.limit = workers, limit
        self._waiting: deque[Work[Any]] = deque()
        self._running = 0
        self._closing = False
        self._seconds = _FIRST_GUESS
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"lorair-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, do: Callable[[Work[T]], T]) -> Work[T]:
        """Put a piece of work at the end of the queue.

        Raises BusyError: the queue is full, or closed.
        """
        with self._changed:
            self._check_room()
            work = Work(do)
            self._waiting.append(work)
            self._changed.notify()
        return work

    def check_room(self) -> None:
        """Raise BusyError if `submit` would now."""
        with self._changed:
            self._check_room()

    def cancel(self, work: Work[Any]) -> None:
        """Drop a piece of work that waits; one that runs ends at its next `go_on`."""
        work.stop()
        with self._changed:
            if work in self._waiting:
                self._waiting.remove(work)
                work.do, work.state = None, "done"
                work.future.cancel()
                self._changed.notify_all()

    def ahead_of(self, work: Work[Any]) -> int:
        """How many pieces wait before this one."""
        with self._changed:
            return self._waiting.index(work) if work in self._waiting else 0

    @property
    def waiting(self) -> int:
        """Pieces that wait, those that an idle worker is about to take left out."""
        with self._changed:
            return max(0, len(self._waiting) - (self.workers - self._running))

    @property
    def running(self) -> int:
        """Pieces in work."""
        return self._running

    @property
    def is_closing(self) -> bool:
        """Whether new work is refused for good."""
        return self._closing

    def retry_after(self) -> int:
        """Whole seconds until a place should be free, by the time that work has taken."""
        rounds = max(1, len(self._waiting) + self._running) / self.workers
        return min(_LONGEST_WAIT, max(1, math.ceil(self._seconds * rounds)))

    def drain(self) -> None:
        """Refuse new work from now on; what waits is still done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Drain, and wait for the workers to end.

        Returns:
            whether all work was done within the time.
        """
        self.drain()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _check_room(self) -> None:
        if self._closing:
            raise BusyError(
                "the server is shutting down",
                hint="try again, another one may answer",
                retry_after=self.retry_after(),
            )
        if len(self._waiting) + self._running >= self.workers + self.limit:
            raise BusyError(
                "the server is busy",
                wanted=f"at most {self.limit} pictures waiting",
                found=str(len(self._waiting)),
                hint=f"try again in {self.retry_after()} s",
                retry_after=self.retry_after(),
            )

    def _work(self) -> None:
        while (work := self._take()) is not None:
            start = time.monotonic()
            work.run()
            self._finished(time.monotonic() - start)
            del work  # and the picture in it, while this thread waits for the next

    def _take(self) -> Work[Any] | None:
        """What a worker does next; None to end. Batches for a GPU would be put together here."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            self._running += 1
            work = self._waiting.popleft()
            work.future.set_running_or_notify_cancel()  # from now on it cannot be cancelled
            return work

    def _finished(self, seconds: float) -> None:
        with self._changed:
            self._running -= 1
            self._seconds = _MEMORY * self._seconds + (1 - _MEMORY) * seconds
            self._changed.notify_all()
