"""What the driver of the tests has to see, shown with cuda-core; `test_walk.py` relies on it."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from cuda_driver import Driver

from lorair.runtime.errors import InternalError
from lorair.runtime.gpu import cuda
from lorair.runtime.gpu.cuda import Gpu

SIZE = 1000


class Program:
    """A GPU with some memory, and a second stream."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.gpu, self.other = driver, Gpu(), Gpu()
        self.host, self.device = self.gpu.allocate_pinned(SIZE), self.gpu.allocate(SIZE)

    def up(self, gpu: Gpu | None = None) -> None:
        (gpu or self.gpu).copy(self.device.address, self.host.address, SIZE)

    def down(self, gpu: Gpu | None = None) -> None:
        (gpu or self.gpu).copy(self.host.address, self.device.address, SIZE)


@pytest.fixture
def program(driver: Driver) -> Program:
    return Program(driver)


def test_whoever_does_not_wait_reads_what_was_there(program: Program) -> None:
    program.host.host[:] = 7
    program.up()
    program.gpu.clear(program.device.address, 10)
    program.down()
    assert (program.host.host == 7).all()
    program.gpu.synchronize()
    assert (program.host.host == [0] * 10 + [7] * 990).all()


def test_a_copy_takes_what_is_there_when_it_runs(program: Program) -> None:
    """Whoever writes to memory that is still to be copied loses what was there."""
    program.host.host[:] = 7
    program.up()
    program.host.host[:] = 8
    program.down()
    program.gpu.synchronize()
    assert (program.host.host == 8).all()


def in_capture(work: Callable[[Program], object]) -> Callable[[Program], object]:
    return lambda program: program.gpu.capture(lambda: work(program) and None)


def freed_in_a_graph(program: Program) -> None:
    graph = program.gpu.capture(program.up)
    program.device.close()
    graph.launch()
    program.gpu.synchronize()


def copied_elsewhere(program: Program, *, event: bool = False) -> None:
    """A copy in one stream, and in the other a graph that uses what it brings."""
    graph = program.gpu.capture(program.down)
    program.up(program.other)
    if event:
        theirs, ours = vars(program.other)["_stream"], vars(program.gpu)["_stream"]
        ours.wait(theirs.record())
    graph.launch()
    program.gpu.synchronize()


MISTAKES: dict[str, tuple[Callable[[Program], object], str]] = {
    "allocation in a capture": (
        in_capture(lambda p: cuda._driver("cuMemAlloc", 10)),  # cuda-core refuses by itself
        "memory is allocated in a capture",
    ),
    "pinned memory in a capture": (
        in_capture(lambda p: p.gpu.allocate_pinned(10)),
        "memory is allocated in a capture",
    ),
    "a free in a capture": (in_capture(lambda p: p.device.close()), "memory is freed in a capture"),
    "waiting in a capture": (
        in_capture(lambda p: p.gpu.synchronize()),
        "the host waits for a stream in a capture",
    ),
    "the legacy stream in a capture": (
        in_capture(lambda p: p.up(Gpu(0))),
        "the legacy stream is used in a capture",
    ),
    "a capture of the legacy stream": (lambda p: Gpu(1).capture(p.up), "the legacy stream is capt"),
    "freed memory in a graph": (freed_in_a_graph, "a copy writes 1000 bytes of a freed buffer"),
    "no event between copy and graph": (copied_elsewhere, "no event is between them"),
    "beyond the end": (
        lambda p: (p.gpu.clear(p.device.address + 1, SIZE), p.gpu.synchronize()),
        "a fill writes 1000 bytes beyond the end",
    ),
    "no memory": (
        lambda p: (p.gpu.clear(12345, 1), p.gpu.synchronize()),
        "a fill writes 1 bytes where there is no memory",
    ),
    "freed twice": (
        lambda p: [cuda._driver("cuMemFree", p.device.address) for _ in range(2)],
        "memory is freed twice",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, program: Program) -> None:
    work, words = MISTAKES[name]
    with suppress(InternalError):  # the program is told of most of them, too
        work(program)
    found = program.driver.take_mistakes()
    assert words in "\n".join(found)
    assert len(set(found)) == 1


def test_an_event_orders_two_streams(program: Program) -> None:
    copied_elsewhere(program, event=True)


def test_waiting_orders_two_streams(program: Program) -> None:
    program.up(program.other)
    program.other.synchronize()
    program.down()
    program.gpu.synchronize()
