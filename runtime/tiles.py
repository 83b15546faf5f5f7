"""Restoring a picture tile by tile, in memory that does not grow with it.

Two passes where the backend can: the first gathers the means that the network pools in
every block, the second restores each tile under the means of the whole picture. What is
held is the picture, the result and one row of tiles. docs/tiles.md has the measurements.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.backends import Backend
from lorair.runtime.backends.tiles import Means, Size, TileInputs
from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import OutOfMemoryError
from lorair.runtime.planes import check_finite, from_planes, padded_size, to_planes
from lorair.runtime.routing.route import Route
from lorair.runtime.tiling import MIN_TILE, Span, Tile, join_columns, join_rows, ramp, spans

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]
Progress = Callable[[float, str], None]
"""Takes the fraction done, and what was done."""

AUTO_TILE: Final = 768
"""Side of the largest tile that `auto` takes: with it 100 megapixels stay below 2 GB."""

SHARE: Final = 0.5
"""Of the free memory, for a run of the network."""

BYTES_PER_CHANNEL: Final = 80
"""Memory of a run for each pixel and each channel at full resolution: the most that was
measured, in docs/benchmarks.md (ONNX Runtime, full size, above 1024x1024)."""

_ROWS: Final = 64
"""Converted at a time, so that what is held in between is small."""


def first_tile(
    tile: Tile, size: Size, model: ModelInfo, backend: Backend, jobs: int = 1
) -> int | None:
    """Side of the tiles to begin with; None for the whole picture at once.

    Args:
        tile: what was asked for.
        size: height and width of the picture.
        model: of the bundle: its width says how much memory a run takes.
        backend: says what it takes, and how much memory there is.
        jobs: pictures at once, which share the memory.
    """
    if tile == "off":
        return None
    height, width = padded_size(size, model.stride)
    if tile != "auto":
        return tile if max(height, width) > tile else None
    largest, memory = backend.largest_tile(), backend.free_memory()
    if largest is not None and min(largest) < MIN_TILE:
        return None  # an engine that is too small for tiles says so itself
    a_pixel = BYTES_PER_CHANNEL * model.width
    pixels = math.inf if memory is None else SHARE / jobs * memory / a_pixel
    fits = largest is None or (height <= largest[0] and width <= largest[1])
    if fits and height * width <= pixels:
        return None
    return _smallest(AUTO_TILE, *(largest or ()), math.sqrt(pixels))


def _smallest(*sides: float) -> int:
    """The least, but not less than a tile can be."""
    return max(MIN_TILE, int(min(sides)))


def smaller_tile(side: int | None, size: Size, error: OutOfMemoryError) -> int:
    """The next side to try when memory ran out. Raises the error if there is none."""
    tried = min(side or 2 * AUTO_TILE, max(size))
    if tried <= MIN_TILE:
        raise error
    return _smallest(tried / 2)


@dataclass(frozen=True)
class TiledPicture:
    """A picture to be restored in tiles.

    image: (H, W, 3). route: of the whole picture. side: of a tile.
    """

    backend: Backend
    model: ModelInfo
    image: Pixels
    route: Route
    side: int

    def restore(self, precision: str, progress: Progress | None = None) -> Pixels:
        """(H, W, 3) of the picture's type.

        Args:
            precision: of the bundle, for messages.
            progress: called after each tile.

        Raises:
            OutOfMemoryError: a smaller side may do.
            InternalError: the network failed, or its result is not finite.
        """
        rows, columns = self._grid()
        passes = 2 if self._shares and len(rows) * len(columns) > 1 else 1
        count = _Counter(passes * len(rows) * len(columns), progress)
        means = self._gather(count) if passes == 2 else None
        out = np.empty_like(self.image)
        height = rows[-1].last
        for top, band in join_rows(self._strips(means, precision, count), height):
            for start in range(0, band.shape[1], _ROWS):
                target = out[top + start : top + min(start + _ROWS, band.shape[1])]
                planes = band[None, :, start : start + _ROWS]
                target[:] = from_planes(planes, target.shape[:2], out.dtype)
        return out

    @property
    def _shares(self) -> bool:
        return self.backend.shares_means

    def _grid(self) -> tuple[list[Span], list[Span]]:
        stride = self.model.stride
        height, width = padded_size(self.image.shape[:2], stride)
        return spans(height, self.side, stride), spans(width, self.side, stride)

    def _gather(self, count: "_Counter") -> Means:
        """The means of the whole picture, as far as its tiles' own means let them be known."""
        rows, columns = self._grid()
        total: npt.NDArray[np.float64] | float = 0.0
        for row in rows:
            for column in columns:
                tile = self._tile(row, column)
                _, means = self.backend.restore_tile(tile, None)
                total = total + means.astype(np.float64) * tile.own_pixels
                count.add("gathering means")
        return np.asarray(total / (rows[-1].last * columns[-1].last), np.float32)

    def _strips(
        self, means: Means | None, precision: str, count: "_Counter"
    ) -> Iterator[tuple[Span, Array]]:
        """Each row of tiles, joined: all in the same memory."""
        rows, columns = self._grid()
        weights = ramp()
        height = rows[0].stop
        strip = np.empty((3, height, columns[-1].stop), np.float32)
        for row in rows:
            for column in columns:
                restored = self._restore(self._tile(row, column), means)
                check_finite(restored, precision)
                join_columns(strip, restored[0], column, weights)
                count.add("restoring")
            yield row, strip

    def _restore(self, tile: TileInputs, means: Means | None) -> Array:
        if means is None:
            return self.backend.restore(tile.image, tile.prior, tile.gates)
        return self.backend.restore_tile(tile, means)[0]

    def _tile(self, row: Span, column: Span) -> TileInputs:
        crop = self.image[row.start : row.stop, column.start : column.stop]
        (top, bottom), (left, right) = row.own, column.own
        return TileInputs(
            image=to_planes(crop, self.model.stride),
            prior=self.route.prior[None],
            gates=self.route.gates,
            own_start=(top, left),
            own_end=(bottom, right),
        )


class _Counter:
    """Says how many tiles of how many are done."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def add(self, what: str) -> None:
        self._done += 1
        if self._progress is not None:
            detail = f"{what}, tile {self._done} of {self._total}"
            self._progress(self._done / self._total, detail)
