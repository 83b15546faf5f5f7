"""Pictures that are copied while others are restored: right, in order, and in made time.

Planted once each in `runtime/gpu/slots.py`, and found here: a picture that does not name its
stream, and a result that is read before it is down (other pixels; the driver says that nothing
orders them); memory that is given back while a walk that failed still reads it (the driver).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_driver import OUT_OF_MEMORY, Driver, write_kernels
from driver_walk import Walks, pixels_of
from made_time import MadeTime, Things
from PIL import Image

from lorair import Restorer, Route
from lorair.exporter.build import _model_info
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.runtime.backends.gpu import GpuBackend
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.errors import OutOfMemoryError
from lorair.runtime.folders.guidance import Guidance
from lorair.runtime.folders.plan import Task
from lorair.runtime.folders.run import FolderRun
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.kernels import PictureKernels
from lorair.runtime.gpu.memory import Held, Scratch
from lorair.runtime.gpu.network import Tensor
from lorair.runtime.gpu.walk import GpuWalk
from lorair.runtime.system.ordered import in_order

JOBS, PICTURES, COPY, NETWORK, CODEC = 4, 200, 1000, 2000, 3000
"""The last three in microseconds."""


class Inverts:
    """A network that takes no time but the driver's: 1 - image."""

    size, capturable = 0, True

    def __init__(self, driver: Driver, gpu: Gpu) -> None:
        self._driver, self._gpu = driver, gpu

    def bind(self, tensors: Mapping[str, Tensor]) -> "Inverts":
        made = Inverts(self._driver, self._gpu)
        made._image, made._restored = tensors["image"], tensors["restored"]
        return made

    def prepare(self) -> int:
        return 0

    def enqueue(self) -> None:
        def work() -> None:
            image = self._driver.array(self._image, writes=False)
            self._driver.array(self._restored, writes=True)[...] = 1 - image

        self._driver.enqueue(self._gpu.stream, work)

    def close(self) -> None: ...


@pytest.fixture
def open_walk(driver: Driver, tiny_pair: Pair, tmp_path: Path) -> Callable[[int], Any]:
    def opened(jobs: int) -> Any:
        gpu, compiled = Gpu(), write_kernels(tmp_path)
        branch, scratch = Inverts(driver, gpu), Scratch(gpu)
        networks = SimpleNamespace(scratch=scratch, restorer=lambda size, gates: branch)
        kernels = PictureKernels(gpu, gpu.launcher(tmp_path), compiled)
        model = _model_info(tiny_pair.config)
        return GpuWalk(gpu, kernels, model, networks, Held(scratch, 1 << 30), jobs)  # type: ignore[arg-type]

    return opened


def made_route(pair: Pair) -> Route:
    gates = np.array([1, 0, 0], np.float32)
    prior = np.zeros(pair.config.restoration.prior, np.float32)
    return Route(np.zeros(3, np.float32), gates, prior, pair.config.classes)


@pytest.mark.parametrize("has_slots", [True, False])
def test_200_pictures_take_what_the_slowest_stage_takes(
    has_slots: bool, open_walk: Callable[[int], Any], driver: Driver, tiny_pair: Pair
) -> None:
    """Within 15 %; without slots, up, network and down one after the other."""
    walk, route = open_walk(JOBS if has_slots else 1), made_route(tiny_pair)
    pictures = [np.full((32, 32, 3), number, np.uint8) for number in range(PICTURES)]
    for pixels in pictures[:3]:  # captured
        walk.restore(pixels, route)
    driver.costs(COPY, NETWORK, pictures[0].nbytes)
    time = MadeTime(driver, JOBS, PICTURES)
    walk._gpu._lock = Things(time, "the turn")
    if has_slots:
        walk._slots._free = Things(time, *walk._slots._all)
    used = []

    def work(number: int) -> Any:
        with time.item():
            time.spend(CODEC // 2)
            restored = walk.restore(pictures[number], route).pixels
            used.append(driver.used)
            time.spend(CODEC // 2)
            return restored

    found = list(in_order(work, range(PICTURES), JOBS, 8 * JOBS, Event()))
    for number, restored in enumerate(found):
        assert (restored == 255 - number).all()
    slowest = PICTURES * max(NETWORK, COPY, CODEC // JOBS)
    if has_slots:
        assert time.end <= 1.15 * slowest
    else:
        assert time.end >= PICTURES * (NETWORK + 2 * COPY)
    assert max(used) == used[PICTURES // 2], "memory grows with the pictures"


def test_pictures_by_way_of_slots_are_the_cpu_s(made: Walks) -> None:
    """From several threads, sizes in turns, routed and with routes of their own."""
    walk = made.walk(jobs=3)
    sizes = [(17, 30), (48, 64), (41, 60), (17, 30)] * 4
    given = [None, made.wanted(pixels_of(20, 20))[1]]
    tasks = [(pixels_of(*size), given[n % 3 == 0]) for n, size in enumerate(sizes)]
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda task: walk.restore(*task), tasks))
    for (pixels, route), walked in zip(tasks, found, strict=True):
        np.testing.assert_array_equal(walked.pixels, made.wanted(pixels, route)[0])
        assert walked.is_finite


@pytest.mark.parametrize("call", ["cuMemAllocFromPoolAsync", "cuMemAllocHost", "cuMemcpyAsync"])
@pytest.mark.parametrize("nth", [1, 3])
def test_a_call_that_fails_beside_the_network(call: str, nth: int, made: Walks) -> None:
    """Without memory a picture goes without a slot; the next is right after any error."""
    walk, pixels = made.walk(jobs=2), pixels_of(20, 30)
    wanted, _ = made.wanted(pixels)
    made.driver.fail(call, nth, OUT_OF_MEMORY)
    with suppress(OutOfMemoryError):
        np.testing.assert_array_equal(walk.restore(pixels).pixels, wanted)
    assert made.driver.has_failed
    for _ in range(3):
        np.testing.assert_array_equal(walk.restore(pixels).pixels, wanted)


def test_a_folder_that_is_interrupted_and_resumed(
    made: Walks, bundle: Bundle, tmp_path: Path
) -> None:
    """On the GPU's backend with slots: each picture once, and as the CPU has it."""
    write_kernels(bundle.path / KERNELS)
    backend = GpuBackend("sessions", "two", bundle, made.gpu, made.networks(), jobs=3)
    restorer = Restorer(bundle, backend, jobs=3)
    tasks = []
    for number in range(12):
        source = tmp_path / f"{number}.png"
        Image.fromarray(pixels_of(20 + number % 3, 30)).save(source)
        tasks.append(Task(source, tmp_path / "out" / source.name))

    def run() -> FolderRun:
        return FolderRun(tasks, skip_existing=True)

    def guidance() -> Guidance:
        sources = [task.source for task in tasks]
        return Guidance(restorer, sources, lambda path: pixels_of(20, 30))

    first = run()
    with closing(first.run(restorer, guidance(), 3)) as outcomes:
        next(outcomes)
    done = first.counts["restored"]
    assert 0 < done < len(tasks) or first.counts["not done"] == 0
    assert not [file for file in (tmp_path / "out").iterdir() if file.suffix != ".png"]
    second = run()
    assert [o.status for o in second.run(restorer, guidance(), 3)] == ["restored"] * (12 - done)
    assert second.counts == {"restored": 12 - done, "skipped": done, "failed": 0, "not done": 0}
    for number, task in enumerate(tasks):
        with Image.open(task.target) as image:
            wanted, _ = made.wanted(pixels_of(20 + number % 3, 30))
            np.testing.assert_array_equal(np.asarray(image), wanted)
