"""The walk on a GPU for pictures of one padded size: its memory, its steps, its graphs.

Pictures come padded (their rows are as long as the padded ones, zero beyond the picture), so
nothing here depends on the exact size but the content of the views' tables. That is why one
captured graph serves every picture of the size.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.gpu.cuda import Gpu, Graph
from lorair.runtime.gpu.kernels import (
    DevicePicture,
    DeviceTable,
    PictureKernels,
    fill_table,
    most_taps,
)
from lorair.runtime.gpu.memory import DeviceBlock, Layout, Shape
from lorair.runtime.gpu.network import Bound, Branch, Tensor
from lorair.runtime.gpu.resampling import bicubic_table
from lorair.runtime.gpu.routing import Routing

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width in pixels."""

_TILES: Final = (1, 2)
"""The views are the whole picture as one tile, and its quarters as 2 x 2."""


class Plan:
    """Everything for one padded size.

    Args:
        gpu: to walk on.
        kernels: of the picture's ends.
        model: of the bundle.
        padded: the size, multiples of the model's stride.
        restorer: that takes pictures of that size.
        routing: shared by all plans.

    Raises:
        OutOfMemoryError: nothing is held then.
    """

    def __init__(
        self,
        gpu: Gpu,
        kernels: PictureKernels,
        model: ModelInfo,
        padded: Size,
        restorer: Branch,
        routing: Routing,
    ) -> None:
        self._gpu, self._kernels, self._routing, self.padded = gpu, kernels, routing, padded
        pixels: tuple[Shape, type] = ((*padded, 3), np.uint8)
        tables = _table_fields(padded, routing.side)
        self._tables = tuple(tables)
        layouts = (
            (Layout({**tables, "pixels": pixels}), True),
            (Layout({"bad": ((1,), np.int32), "pixels": pixels}), True),
            (Layout(_work_fields(padded, routing.side)), False),
        )
        self._held: list[DeviceBlock | Bound | Graph] = []
        try:
            blocks = [self._hold(DeviceBlock(gpu, layout, on_host=h)) for layout, h in layouts]
            self._inputs, self._outputs, self._work = blocks
            planes = (1, 3, *padded)
            self._restorer = restorer.bind(
                {
                    "image": Tensor(self._work.address("image"), planes),
                    "prior": routing.tensor("prior", (1, model.prior)),
                    "gates": routing.tensor("gates", (model.experts,)),
                    "restored": Tensor(self._work.address("restored"), planes),
                }
            )
            self._held.append(self._restorer)
        except BaseException:
            self.close()
            raise
        self._capturable = restorer.capturable
        self._graphs: dict[bool, Graph] = {}
        self._warm: set[bool] = set()

    @property
    def size(self) -> int:
        """Bytes of device memory that it holds; of the graphs' own little is known."""
        return self._inputs.size + self._outputs.size + self._work.size + self._restorer.size

    def close(self) -> None:
        """Give all of it back, graphs first."""
        while self._held:
            self._held.pop().close()

    def write_tables(self, size: Size) -> None:
        """Prepare the views' tables for pictures of this exact size."""
        for axis, source in zip(("rows", "columns"), reversed(size), strict=True):
            for tiles in _TILES:
                arrays = (self._inputs.array(name) for name in _table_names(axis, tiles))
                fill_table(bicubic_table(source, tiles * self._routing.side), *arrays)

    def write(self, pixels: Pixels) -> None:
        """Prepare a picture (H, W, 3) for its upload."""
        height, width = pixels.shape[:2]
        padded = self._inputs.array("pixels")
        padded[:height, :width] = pixels
        padded[height:], padded[:height, width:] = 0, 0

    def run(self, *, routed: bool) -> None:
        """Walk the prepared picture, with a route of its own or the given guidance; wait."""
        if routed in self._graphs:
            self._graphs[routed].launch()
        elif routed in self._warm and self._capturable and self._routing.capturable:
            graph = self._gpu.capture(lambda: self._enqueue(routed))
            self._held.append(graph)
            self._graphs[routed] = graph
            graph.launch()
        else:
            self._enqueue(routed)
            self._warm.add(routed)
        self._gpu.synchronize()

    def run_between(self, source: DevicePicture, target: DevicePicture, *, routed: bool) -> None:
        """The same between two places in device memory."""
        self._inputs.upload(*self._tables)
        self._walk(source, target, routed=routed)
        self._outputs.download("bad")
        self._gpu.synchronize()

    def read(self, size: Size) -> Pixels:
        """The restored picture, cropped."""
        pixels: Pixels = self._outputs.array("pixels")[: size[0], : size[1]].astype(np.uint8)
        return pixels

    @property
    def is_finite(self) -> bool:
        """Whether every value of the last result was a number."""
        return not self._outputs.array("bad")[0]

    def _enqueue(self, routed: bool) -> None:
        self._inputs.upload()
        source = DevicePicture(self._inputs.address("pixels"), *self.padded)
        target = DevicePicture(self._outputs.address("pixels"), *self.padded)
        self._walk(source, target, routed=routed)
        self._outputs.download()

    def _walk(self, source: DevicePicture, target: DevicePicture, *, routed: bool) -> None:
        if routed:
            self._make_views(source)
            self._routing.enqueue()
            self._routing.guidance.download()
        else:
            self._routing.guidance.upload()
        bad = self._outputs.address("bad")
        self._gpu.clear(bad, 4)
        self._kernels.unpack(source, self._work.address("image"), self.padded)
        self._restorer.enqueue()
        self._kernels.pack(self._work.address("restored"), target, self.padded, bad)

    def _make_views(self, source: DevicePicture) -> None:
        side, views = self._routing.side, self._routing.views.address("views")
        for tiles in _TILES:
            resized = self._work.address(f"resized{tiles}")
            rows = self._table("rows", tiles, source.width)
            self._kernels.resize_rows(source, rows, resized, tiles * side)
            columns = self._table("columns", tiles, source.height)
            self._kernels.resize_columns(resized, columns, views, side, tiles)

    def _table(self, axis: str, tiles: int, source: int) -> DeviceTable:
        first, counts, coefficients = map(self._inputs.address, _table_names(axis, tiles))
        taps = most_taps(source, tiles * self._routing.side)
        return DeviceTable(first, counts, coefficients, taps)

    def _hold(self, block: DeviceBlock) -> DeviceBlock:
        self._held.append(block)
        return block


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
