"""The whole walk on a GPU: picture up, views, router, restorer, picture down; one stream.

Everything between the two copies stays on the device. The first picture of a padded size
makes its plan and warms everything up, the second is captured, and from then on the walk is
one launch of a graph.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import OutOfMemoryError, PictureError
from lorair.runtime.gpu.cuda import Gpu, device_picture
from lorair.runtime.gpu.kernels import DevicePicture, PictureKernels
from lorair.runtime.gpu.network import Branch
from lorair.runtime.gpu.plan import Pixels, Plan, Size
from lorair.runtime.gpu.routing import Routing
from lorair.runtime.routing.route import Route


@dataclass(frozen=True, eq=False)
class Walked:
    """What a walk came to.

    pixels: (H, W, 3) uint8; None if it is in device memory.
    is_finite: whether every value of the network's result was a number.
    """

    pixels: Pixels | None
    route: Route
    is_finite: bool


class GpuWalk:
    """Walks pictures, one at a time: other threads wait.

    Args:
        gpu: to walk on.
        kernels: of the picture's ends.
        model: of the bundle.
        load_router: -> the router; called when a picture is first routed.
        load_restorer: padded size -> a restorer that takes it; called once a plan.
        budget: bytes of device memory that plans may hold together. Beyond it the least
            recently used are dropped; one is always allowed.
    """

    def __init__(
        self,
        gpu: Gpu,
        kernels: PictureKernels,
        model: ModelInfo,
        load_router: Callable[[], Branch],
        load_restorer: Callable[[Size], Branch],
        budget: int,
    ) -> None:
        self._gpu, self._kernels, self._model, self._budget = gpu, kernels, model, budget
        self._load_router, self._load_restorer = load_router, load_restorer
        self._routing = Routing(gpu, model)
        self._plans: OrderedDict[Size, Plan] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def sizes(self) -> list[Size]:
        """Padded sizes that have a plan, the least recently used first."""
        return list(self._plans)

    def restore(self, pixels: Pixels, given: Route | None = None) -> Walked:
        """Restore a picture (H, W, 3), routing it first unless a route is given.

        Raises:
            OutOfMemoryError: even with all other plans gone.
        """
        height, width = pixels.shape[:2]
        with self._plan((height, width), given) as plan:
            plan.write(pixels)
            plan.run(routed=given is None)
            restored = plan.read((height, width))
            return Walked(restored, given or self._routing.read(), plan.is_finite)

    def restore_on_device(self, source: Any, target: Any, given: Route | None = None) -> Walked:
        """The same from device memory to device memory, with no copy in between.

        Args:
            source: (H, W, 3) uint8 on the device, ready in the stream's order; see
                `device_picture`.
            target: of the same size; may be the source.
            given: as for `restore`.

        Raises:
            PictureError: the arrays are not such pictures.
        """
        here, there = device_picture(source), device_picture(target)
        if here[1:] != there[1:]:
            raise PictureError(
                "the target is not the source's size",
                wanted="x".join(map(str, here[1:])),
                found="x".join(map(str, there[1:])),
            )
        with self._plan(here[1:], given) as plan:
            plan.run_between(DevicePicture(*here), DevicePicture(*there), routed=given is None)
            return Walked(None, given or self._routing.read(), plan.is_finite)

    @contextmanager
    def _plan(self, size: Size, given: Route | None) -> Iterator[Plan]:
        """The plan for pictures of a size, ready for one of them."""
        stride = self._model.stride
        padded = size[0] + -size[0] % stride, size[1] + -size[1] % stride
        with self._lock:
            self._gpu.activate()
            plan = self._plans.get(padded) or self._make(padded)
            self._plans.move_to_end(padded)
            if given is not None:
                self._routing.write(given)
            else:
                if not self._routing.is_loaded:
                    self._routing.load(self._load_router())
                plan.write_tables(size)
            yield plan

    def _make(self, padded: Size) -> Plan:
        try:
            plan = self._new_plan(padded)
        except OutOfMemoryError:
            if not self._plans:
                raise
            self._drop_all()
            plan = self._new_plan(padded)
        self._plans[padded] = plan
        while len(self._plans) > 1 and sum(p.size for p in self._plans.values()) > self._budget:
            self._plans.popitem(last=False)[1].close()
        return plan

    def _new_plan(self, padded: Size) -> Plan:
        restorer = self._load_restorer(padded)
        return Plan(self._gpu, self._kernels, self._model, padded, restorer, self._routing)

    def _drop_all(self) -> None:
        while self._plans:
            self._plans.popitem()[1].close()
