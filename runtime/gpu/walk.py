"""The whole walk on a GPU: picture up, views, router, restorer, picture down; one stream.

Everything between the two copies stays on the device. The first picture of a padded size
makes its plan and warms everything up, the second is captured, and from then on the walk is
two launches of graphs: one up to the gates, which choose the restorer, and the restorer's.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import OutOfMemoryError, PictureError
from lorair.runtime.gpu.cuda import Gpu, device_picture, stream_of
from lorair.runtime.gpu.kernels import DevicePicture, PictureKernels
from lorair.runtime.gpu.memory import Held, Scratch
from lorair.runtime.gpu.network import Branch
from lorair.runtime.gpu.plan import Pixels, Plan, Restoring, Size
from lorair.runtime.gpu.routing import Routing
from lorair.runtime.gpu.slots import Slots
from lorair.runtime.pixels import Array
from lorair.runtime.routing.route import Route


class Networks(Protocol):
    """A bundle's networks on a GPU, each loaded when it is first asked for.

    scratch: that they compute in.
    """

    scratch: Scratch

    def router(self) -> Branch:
        """Views (1, 5, 3, S, S) to logits (1, E), prior (1, P) and gates (1, E)."""

    def restorer(self, size: Size, gates: Array) -> Branch:
        """Image (1, 3, H, W), prior (1, P) and gates (E) to restored, for this H and W.

        One that has the gates merged does not look at them.

        Raises:
            PictureError: none takes pictures of this size.
            BackendError: none serves these gates.
        """

    def largest(self) -> Size | None:
        """The largest picture that a restorer takes; None if memory is the limit."""

    def bytes_a_pixel(self) -> float | None:
        """Device memory of a run; None if unknown."""

    def reserved(self) -> int:
        """Bytes that the router will take, less those of a restorer that nobody uses yet."""


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
    """Walks pictures, one at a time through the networks: other threads wait.

    Args:
        gpu: to walk on.
        kernels: of the picture's ends.
        model: of the bundle.
        networks: the router, called for when a picture is first routed, and the restorers:
            each picture's gates choose one.
        held: takes what is kept for the next picture.
        jobs: threads that bring pictures. If there are several, pictures are copied while
            others are in the networks.
    """

    def __init__(
        self,
        gpu: Gpu,
        kernels: PictureKernels,
        model: ModelInfo,
        networks: Networks,
        held: Held,
        jobs: int = 1,
    ) -> None:
        self._gpu, self._kernels, self._model = gpu, kernels, model
        self._networks, self._held = networks, held
        self._routing = Routing(gpu, model)
        self._slots: Slots[Walked] | None = Slots(gpu, jobs) if jobs > 1 else None

    @property
    def waiting(self) -> int:
        """Bytes of device memory in which pictures wait."""
        return 0 if self._slots is None else self._slots.size

    def restore(self, pixels: Pixels, given: Route | None = None) -> Walked:
        """Restore a picture (H, W, 3), routing it first unless a route is given.

        Raises:
            OutOfMemoryError: even with everything else gone.
            PictureError: no network takes it.
        """
        if self._slots is not None:
            with suppress(OutOfMemoryError):  # then without a slot, with all memory
                restored, walked = self._slots.restore(
                    pixels, lambda there: self.restore_on_device(there, there, given)
                )
                return replace(walked, pixels=restored)
        return self._restore_at_once(pixels, given)

    def _restore_at_once(self, pixels: Pixels, given: Route | None) -> Walked:
        height, width = pixels.shape[:2]
        with self._gpu.turn():
            plan = self._plan((height, width))
            plan.write(pixels)
            gates = self._guide(plan, (height, width), given)
            self._restoring(plan, gates).run(given is not None)
            restored = plan.read((height, width))
            return Walked(restored, given or self._routing.read(), plan.is_finite)

    def restore_on_device(self, source: Any, target: Any, given: Route | None = None) -> Walked:
        """The same from device memory to device memory; nothing of it goes by the host.

        Args:
            source: (H, W, 3) uint8 on the device, ready in the order of the GPU's stream, or of
                the one that it names; see `device_picture`.
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
        with self._gpu.turn():
            self._gpu.wait_for(stream_of(source))
            self._gpu.wait_for(stream_of(target))
            plan = self._plan(here[1:])
            plan.put(DevicePicture(*here))
            gates = self._guide(plan, here[1:], given, on_device=True)
            self._restoring(plan, gates).run(given is not None, DevicePicture(*there))
            return Walked(None, given or self._routing.read(), plan.is_finite)

    def _guide(
        self, plan: Plan, size: Size, given: Route | None, *, on_device: bool = False
    ) -> Array:
        """Prepare the guidance, the picture's own unless it is given; its gates (E)."""
        if given is not None:
            self._routing.write(given)
            return given.gates
        if not self._routing.is_loaded:
            self._routing.load(self._networks.router())
        plan.write_tables(size)
        plan.route(on_device=on_device)
        return self._routing.read().gates

    def _plan(self, size: Size) -> Plan:
        stride = self._model.stride
        padded = size[0] + -size[0] % stride, size[1] + -size[1] % stride
        return self._held.get(padded, lambda: Plan(self._gpu, self._kernels, padded, self._routing))

    def _restoring(self, plan: Plan, gates: Array) -> Restoring:
        branch = self._networks.restorer(plan.padded, gates)
        # The plan's key goes last: it is used after all its networks, and dropped after them.
        return self._held.get(
            (plan.padded, branch), lambda: Restoring(plan, self._model, branch), plan.padded
        )
