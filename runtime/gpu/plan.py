"""The walk on a GPU for pictures of one padded size: its memory, its steps, its graphs.

Pictures come padded (their rows are as long as the padded ones, zero beyond the picture), so
nothing here depends on the exact size but the content of the views' tables. That is why one
captured graph serves every picture of the size.

The walk has two steps. The first ends at the router's gates, which the host reads: they say
which network restores the picture. The second is that network's.
"""

from functools import partial
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.kernels import (
    DevicePicture,
    DeviceTable,
    PictureKernels,
    fill_table,
    most_taps,
)
from lorair.runtime.gpu.memory import DeviceBlock, Layout, Shape
from lorair.runtime.gpu.network import Branch, Tensor
from lorair.runtime.gpu.resampling import bicubic_table
from lorair.runtime.gpu.routing import Routing
from lorair.runtime.gpu.step import Step

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""

_TILES: Final = (1, 2)
"""The views are the whole picture as one tile, and its quarters as 2 x 2."""


class Plan:
    """The memory of one padded size, and the step that routes a picture.

    Args:
        gpu: to walk on.
        kernels: of the picture's ends.
        padded: the size, multiples of the model's stride.
        routing: shared by all plans.

    Raises:
        OutOfMemoryError: nothing is held then.
    """

    branch = None

    def __init__(self, gpu: Gpu, kernels: PictureKernels, padded: Size, routing: Routing) -> None:
        self.gpu, self.kernels, self.routing, self.padded = gpu, kernels, routing, padded
        pixels: tuple[Shape, type] = ((*padded, 3), np.uint8)
        tables = _table_fields(padded, routing.side)
        self._tables = tuple(tables)
        layouts = (
            (Layout({**tables, "pixels": pixels}), True),
            (Layout({"bad": ((1,), np.int32), "pixels": pixels}), True),
            (Layout(_work_fields(padded, routing.side)), False),
        )
        blocks: list[DeviceBlock] = []
        try:
            for layout, on_host in layouts:
                blocks.append(DeviceBlock(gpu, layout, on_host=on_host))
        except BaseException:
            for block in blocks:
                block.close()
            raise
        self.inputs, self.outputs, self.work = self._blocks = blocks
        self._routes: dict[bool, Step] = {}

    @property
    def size(self) -> int:
        """Bytes of device memory that it holds; of the graphs' own little is known."""
        return sum(block.size for block in self._blocks)

    def close(self) -> None:
        """Give all of it back."""
        for step in self._routes.values():
            step.close()
        for block in self._blocks:
            block.close()

    def write_tables(self, size: Size) -> None:
        """Prepare the views' tables for pictures of this exact size."""
        for axis, source in zip(("rows", "columns"), reversed(size), strict=True):
            for tiles in _TILES:
                arrays = (self.inputs.array(name) for name in _table_names(axis, tiles))
                fill_table(bicubic_table(source, tiles * self.routing.side), *arrays)

    def write(self, pixels: Pixels) -> None:
        """Prepare a picture (H, W, 3) for its upload."""
        height, width = pixels.shape[:2]
        padded = self.inputs.array("pixels")
        padded[:height, :width] = pixels
        padded[height:], padded[:height, width:] = 0, 0

    def put(self, source: DevicePicture) -> None:
        """Put a picture that is on the device into the frame, as an upload does."""
        frame, (height, width) = self.picture(self.inputs), self.padded
        self.gpu.clear(frame.address, 3 * height * width)
        self._copy(frame, source, source)

    def take(self, target: DevicePicture) -> None:
        """Copy the restored picture to one on the device."""
        self._copy(target, self.picture(self.outputs), target)

    def _copy(self, target: DevicePicture, source: DevicePicture, cut: DevicePicture) -> None:
        there, here = ((picture.address, 3 * picture.width) for picture in (target, source))
        self.gpu.copy_rows(there, here, 3 * cut.width, cut.height)

    def route(self, *, on_device: bool) -> None:
        """Route the prepared picture, or the one that was put on the device; wait."""
        bound = self.routing.bound
        assert bound is not None
        if on_device not in self._routes:
            self._routes[on_device] = Step(self.gpu, partial(self._look, on_device), bound)
        self._routes[on_device].run()
        self.gpu.synchronize()

    def read(self, size: Size) -> Pixels:
        """The restored picture, cropped."""
        pixels: Pixels = self.outputs.array("pixels")[: size[0], : size[1]].astype(np.uint8)
        return pixels

    @property
    def is_finite(self) -> bool:
        """Whether every value of the last result was a number."""
        return not self.outputs.array("bad")[0]

    def picture(self, block: DeviceBlock) -> DevicePicture:
        """The padded picture in the inputs or outputs."""
        return DevicePicture(block.address("pixels"), *self.padded)

    def _look(self, on_device: bool) -> None:
        self.inputs.upload(*self._tables if on_device else ())
        source = self.picture(self.inputs)
        side, views = self.routing.side, self.routing.views.address("views")
        for tiles in _TILES:
            resized = self.work.address(f"resized{tiles}")
            rows = self._table("rows", tiles, source.width)
            self.kernels.resize_rows(source, rows, resized, tiles * side)
            columns = self._table("columns", tiles, source.height)
            self.kernels.resize_columns(resized, columns, views, side, tiles)
        self.routing.enqueue()

    def _table(self, axis: str, tiles: int, source: int) -> DeviceTable:
        first, counts, coefficients = map(self.inputs.address, _table_names(axis, tiles))
        taps = most_taps(source, tiles * self.routing.side)
        return DeviceTable(first, counts, coefficients, taps)


class Restoring:
    """The step that restores: one network for the pictures of a plan.

    Args:
        plan: has to stay while this does.
        model: of the bundle.
        branch: a restorer that takes pictures of that size.

    Raises:
        OutOfMemoryError: nothing is held then.
    """

    def __init__(self, plan: Plan, model: ModelInfo, branch: Branch) -> None:
        self._plan, self.branch = plan, branch
        planes = (1, 3, *plan.padded)
        self._bound = branch.bind(
            {
                "image": Tensor(plan.work.address("image"), planes),
                "prior": plan.routing.tensor("prior", (1, model.prior)),
                "gates": plan.routing.tensor("gates", (model.experts,)),
                "restored": Tensor(plan.work.address("restored"), planes),
            }
        )
        self._steps = {
            key: Step(plan.gpu, partial(self._enqueue, *key), self._bound)
            for key in product((False, True), repeat=2)
        }

    @property
    def size(self) -> int:
        """Bytes of device memory that it holds."""
        return self._bound.size

    def close(self) -> None:
        """Give all of it back."""
        for step in self._steps.values():
            step.close()
        self._bound.close()

    def run(self, given: bool, target: DevicePicture | None = None) -> None:
        """Restore the prepared picture; wait.

        Args:
            given: whether the guidance is the host's, and not on the device yet; nor is the
                picture, then, unless it was put there.
            target: on the device, of a picture that was put there.
        """
        self._steps[given, target is not None].run()
        if target is not None:
            self._plan.take(target)
        self._plan.gpu.synchronize()

    def _enqueue(self, given: bool, on_device: bool) -> None:
        plan = self._plan
        if given and not on_device:
            plan.inputs.upload("pixels")
        if given:
            plan.routing.guidance.upload()
        bad = plan.outputs.address("bad")
        plan.gpu.clear(bad, 4)
        plan.kernels.unpack(plan.picture(plan.inputs), plan.work.address("image"), plan.padded)
        self._bound.enqueue()
        restored, target = plan.work.address("restored"), plan.picture(plan.outputs)
        plan.kernels.pack(restored, target, plan.padded, bad)
        plan.outputs.download(*["bad"] if on_device else ())


def _table_names(axis: str, tiles: int) -> tuple[str, str, str]:
    first, counts, coefficients = (
        f"{axis}{tiles}.{part}" for part in ("first", "counts", "coefficients")
    )
    return first, counts, coefficients


def _table_fields(padded: Size, side: int) -> dict[str, tuple[Shape, type]]:
    fields: dict[str, tuple[Shape, type]] = {}
    for axis, source in zip(("rows", "columns"), reversed(padded), strict=True):
        for tiles in _TILES:
            target = tiles * side
            shapes = (target,), (target,), (most_taps(source, target), target)
            for name, shape in zip(_table_names(axis, tiles), shapes, strict=True):
                fields[name] = shape, np.int32
    return fields


def _work_fields(padded: Size, side: int) -> dict[str, tuple[Shape, type]]:
    planes: tuple[Shape, type] = ((3, *padded), np.float32)
    fields: dict[str, tuple[Shape, type]] = {"image": planes, "restored": planes}
    for tiles in _TILES:
        fields[f"resized{tiles}"] = (padded[0], tiles * side, 3), np.uint8
    return fields
