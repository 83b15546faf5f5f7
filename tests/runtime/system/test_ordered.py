"""Order, bounds and stopping of `in_order`."""

import threading
from collections.abc import Iterator

import pytest
from processes import LIMIT

from lorair.runtime.system.ordered import in_order


def test_results_come_in_order_from_several_threads() -> None:
    barrier, second = threading.Barrier(3, timeout=LIMIT), threading.Event()

    def work(item: int) -> int:
        if item < 3:
            barrier.wait()  # passes only if three are in work at once
        if item == 0:
            assert second.wait(LIMIT), "the first one ends after the second"
        if item == 1:
            second.set()
        return item * item

    found = list(in_order(work, range(20), jobs=3, ahead=6, stop=threading.Event()))
    assert found == [item * item for item in range(20)]


def test_no_more_is_taken_than_allowed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    results = in_order(lambda item: item, items(), jobs=2, ahead=4, stop=threading.Event())
    for asked, item in enumerate(results):
        assert item == asked
        assert len(taken) <= asked + 4


def test_closing_waits_for_what_runs_and_drops_the_rest() -> None:
    stop, begun, ended = threading.Event(), [], []

    def work(item: int) -> int:
        begun.append(item)
        if item:
            assert stop.wait(LIMIT)
        ended.append(item)
        return item

    results = in_order(work, range(100), jobs=2, ahead=10, stop=stop)
    assert next(results) == 0
    results.close()
    assert stop.is_set()
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 3, "the first one, and one in each thread"


def test_an_exception_of_the_work_ends_all() -> None:
    def work(item: int) -> float:
        return 1 / (3 - item)

    stop = threading.Event()
    with pytest.raises(ZeroDivisionError):
        list(in_order(work, range(10), jobs=2, ahead=4, stop=stop))
    assert stop.is_set()
