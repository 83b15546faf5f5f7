"""Work on many items at once, results in order, memory bounded."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], items: Iterable[T], jobs: int, ahead: int, stop: Event
) -> Generator[R, None, None]:
    """`map(work, items)` on `jobs` threads.

    Args:
        work: what to do with an item; an exception of its own ends all.
        items: taken as they are needed.
        jobs: items in work at once.
        ahead: items taken, in work or with results that nobody has asked for; at least `jobs`.
        stop: set when the iterator ends or is closed early, for `work` to look at. What is in
            work then is waited for, what is not begun is dropped.
    """
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="lorair")
    window: deque[Future[R]] = deque()
    try:
        for item in items:
            window.append(pool.submit(work, item))
            if len(window) >= ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
