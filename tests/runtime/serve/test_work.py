"""The queue: bound, order, cancelling, closing. Events decide what happens when."""

import threading
from collections.abc import Iterator

import pytest

from lorair.runtime.errors import BusyError
from lorair.runtime.serve.work import StoppedError, Work, WorkQueue


class Held:
    """A queue whose only worker is busy until it is let go."""

    def __init__(self, limit: int) -> None:
        self.go, began = threading.Event(), threading.Event()
        self.queue = WorkQueue(1, limit)

        def hold(work: Work[str]) -> str:
            began.set()
            assert self.go.wait(60)
            work.go_on()
            return "first"

        self.first = self.queue.submit(hold)
        assert began.wait(60)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held(limit=2)
    yield held
    held.go.set()
    assert held.queue.close(60)


def test_no_more_wait_than_the_limit(held: Held) -> None:
    waiting = [held.queue.submit(lambda work, n=n: n) for n in range(2)]
    assert (held.queue.waiting, held.queue.running) == (2, 1)
    assert [held.queue.ahead_of(work) for work in waiting] == [0, 1]
    with pytest.raises(BusyError, match="busy: wanted at most 2 pictures waiting") as caught:
        held.queue.submit(lambda work: 9)
    assert caught.value.retry_after >= 1
    held.go.set()
    assert held.first.future.result(60) == "first"
    assert [work.future.result(60) for work in waiting] == [0, 1]
    assert all(work.waited > 0 for work in waiting)


def test_dropped_work_leaves_its_place_at_once(held: Held) -> None:
    dropped = held.queue.submit(lambda work: pytest.fail("it was dropped"))
    kept = held.queue.submit(lambda work: "kept")
    held.queue.cancel(dropped)
    assert dropped.future.cancelled()
    assert dropped.do is None  # what it held is free, not only unreachable
    assert held.queue.waiting == 1
    held.queue.submit(lambda work: "in its place")
    held.go.set()
    assert kept.future.result(60) == "kept"


def test_running_work_ends_between_its_stages(held: Held) -> None:
    held.queue.cancel(held.first)
    held.go.set()
    with pytest.raises(StoppedError):
        held.first.future.result(60)
    assert held.queue.submit(lambda work: "next").future.result(60) == "next"


def test_an_error_ends_its_work_and_no_more(held: Held) -> None:
    def fail(work: Work[None]) -> None:
        raise SystemExit("even this")

    failed = held.queue.submit(fail)
    held.go.set()
    with pytest.raises(SystemExit):
        failed.future.result(60)
    assert held.queue.submit(lambda work: 1).future.result(60) == 1


def test_closing_refuses_new_work_and_does_what_waits(held: Held) -> None:
    waiting = held.queue.submit(lambda work: "done all the same")
    held.queue.drain()
    with pytest.raises(BusyError, match="shutting down"):
        held.queue.submit(lambda work: None)
    assert not held.queue.close(0)
    held.go.set()
    assert waiting.future.result(60) == "done all the same"
    assert held.queue.close(60)


def test_several_workers_work_at_once() -> None:
    queue, both = WorkQueue(2, 0), threading.Barrier(2)
    works = [queue.submit(lambda work: both.wait(60)) for _ in range(2)]
    assert sorted(work.future.result(60) for work in works) == [0, 1]
    assert queue.close(60)


def test_the_wait_follows_the_time_that_work_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WorkQueue(2, 8)
    for _ in range(60):
        queue._running += 1
        queue._finished(5.0)
    assert queue.retry_after() == 3  # one picture on one of two workers
    queue._running = 2
    assert queue.retry_after() == 5
    queue._running = 0
    assert queue.close(60)
