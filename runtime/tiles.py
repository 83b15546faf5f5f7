"""Restoring a picture tile by tile, in memory that does not grow with it.

Two passes where the backend can: the first gathers the means that the network pools in
every block, the second restores each tile under the means of the whole picture. What is
held is the picture, the result and one row of tiles. docs/tiles.md has the measurements.

Positions are in pixels of the padded picture. Tiles begin and end at multiples of the
network's stride, so that each of its levels sees the same grid as in the whole picture.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from lorair.runtime.backends import Backend
from lorair.runtime.backends.tiles import Means, Size, TileInputs
from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import OptionError, OutOfMemoryError
from lorair.runtime.pixels import Array, Pixels, check_finite, from_planes, padded_size, to_planes
from lorair.runtime.routing.route import Route

Tile = int | Literal["auto", "off"]
"""Side of a tile in pixels; `auto`: tiles where memory asks for them; `off`: never."""

OVERLAP: Final = 64
"""Of neighbouring tiles, at least. A tile's outer quarter of it is not used, since the network
sees no further than the tile's edge there; over the middle half the two are blended."""

BLEND: Final = OVERLAP // 2
MIN_TILE: Final = 2 * OVERLAP


@dataclass(frozen=True)
class Span:
    """A tile along one side of the picture.

    start, stop: of the tile. first, last: of the part that no other tile counts.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def own(self) -> tuple[int, int]:
        """The part that no other tile counts, from the tile's start."""
        return self.first - self.start, self.last - self.start


def parse_tile(text: str) -> Tile:
    """`auto`, `off` or a side in pixels. Raises OptionError."""
    words: dict[str, Tile] = {"auto": "auto", "off": "off"}
    if text in words:
        return words[text]
    if text.isdecimal() and int(text) >= MIN_TILE:
        return int(text)
    raise OptionError(
        "--tile",
        wanted=f"auto, off, or a side of at least {MIN_TILE} pixels",
        found=text,
        hint="auto takes tiles where memory asks for them",
    )


def spans(length: int, tile: int, stride: int) -> list[Span]:
    """The tiles along a side, evenly spread.

    Args:
        length: of the padded side, a multiple of the stride.
        tile: side of a tile; taken down to a multiple of the stride, `MIN_TILE` at least.
        stride: of the network, a power of two.
    """
    overlap = max(OVERLAP, 2 * stride)
    tile = max(tile // stride * stride, 2 * overlap)
    if length <= tile:
        return [Span(0, length, 0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [(length - tile) * i // (count - 1) // stride * stride for i in range(count)]
    # Halfway through what two neighbours share.
    seams = [(a + tile + b) // 2 // stride * stride for a, b in pairwise(starts)]
    return [
        Span(start, start + tile, first, last)
        for start, first, last in zip(starts, [0, *seams], [*seams, length], strict=True)
    ]


def ramp() -> Array:
    """(BLEND,): the second tile's weight across a seam, a raised cosine; the first has the rest."""
    angles = np.pi / 2 * (np.arange(BLEND) + 0.5) / BLEND
    return np.asarray(np.sin(angles) ** 2, np.float32)


def join_columns(strip: Array, tile: Array, span: Span, weights: Array) -> None:
    """Put a tile (3, h, w) right of those that a strip (3, h, W) holds already."""
    if span.first == 0:
        strip[:, :, : span.stop] = tile
        return
    begin, end = span.first - BLEND // 2, span.first + BLEND // 2
    inside = tile[:, :, begin - span.start :]
    _mix(strip[:, :, begin:end], inside[:, :, :BLEND], weights)
    strip[:, :, end : span.stop] = inside[:, :, BLEND:]


def join_rows(strips: Iterable[tuple[Span, Array]], height: int) -> Iterator[tuple[int, Array]]:
    """Rows of the picture as soon as they are done.

    Args:
        strips: for each row of tiles its span and (3, h, W), in order. Changed, and not used
            any more when the next is asked for.
        height: of the padded picture.

    Yields:
        The first row's number, and (3, rows, W), to be used before the next is asked for.
    """
    column, tail = ramp()[:, None], None
    for span, strip in strips:
        begin = span.first - BLEND // 2 if span.first else 0
        end = span.last - BLEND // 2 if span.last < height else height
        if tail is not None:
            top = strip[:, begin - span.start :][:, :BLEND]
            _mix(tail, top, column)
            top[:] = tail
        # A copy: the next strip may be written where this one is.
        tail = strip[:, end - span.start :][:, :BLEND].copy()
        yield begin, strip[:, begin - span.start : end - span.start]


def _mix(first: Array, second: Array, weights: Array) -> None:
    """Weights that sum to 1 to the bit: where both are equal, the result is as well."""
    first += (second - first) * weights


Progress = Callable[[float, str], None]
"""Takes the fraction done, and what was done."""

AUTO_TILES: Final = (1536, 768)
"""Sides of the tiles that `auto` takes: the first that fits, else as large as fits. Larger tiles
share less with each other, and a run of a large one takes less time a pixel."""

SHARE: Final = 0.5
"""Of the free memory, for a run of the network."""

BYTES_PER_CHANNEL: Final = 80
"""Memory of a run for each pixel and each channel at full resolution, where a backend's own was
not measured: the most of any (ONNX Runtime with its plans of memory, which are off now)."""

_ROWS: Final = 64
"""Converted at a time, so that what is held in between is small."""


def first_tile(
    tile: Tile, size: Size, model: ModelInfo, backend: Backend, jobs: int = 1
) -> int | None:
    """Return the side of the tiles to begin with; None for the whole picture at once.

    It depends on the network's width and the memory that the backend has, which `jobs` pictures
    share, and on the largest picture that the backend takes. `size` is height and width.
    """
    if tile == "off":
        return None
    height, width = padded_size(size, model.stride)
    if tile != "auto":
        return tile if max(height, width) > tile else None
    largest, memory = backend.largest_tile(), backend.free_memory()
    if largest is not None and min(largest) < MIN_TILE:
        return None  # an engine that is too small for tiles says so itself
    a_pixel = backend.bytes_a_pixel() or BYTES_PER_CHANNEL * model.width
    pixels = math.inf if memory is None else SHARE / jobs * memory / a_pixel
    fits = largest is None or (height <= largest[0] and width <= largest[1])
    if fits and height * width <= pixels:
        return None
    most = min((*(largest or ()), math.sqrt(pixels)))
    return next((side for side in AUTO_TILES if side <= most), _smallest(most))


def _smallest(*sides: float) -> int:
    """The least, but not less than a tile can be."""
    return max(MIN_TILE, int(min(sides)))


def smaller_tile(side: int | None, size: Size, error: OutOfMemoryError) -> int:
    """The next side to try when memory ran out. Raises the error if there is none."""
    tried = min(side or 2 * AUTO_TILES[0], max(size))
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
        """Return (H, W, 3) of the picture's type; `progress` is called after each tile.

        Raises:
            OutOfMemoryError: a smaller side may do.
            InternalError: the network failed, or its result is not finite.
        """
        rows, columns = self._grid()
        passes = 2 if self.backend.shares_means and len(rows) * len(columns) > 1 else 1
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
                tile = self._tile(row, column)
                if means is None:
                    restored = self.backend.restore(tile.image, tile.prior, tile.gates)
                else:
                    restored = self.backend.restore_tile(tile, means)[0]
                check_finite(restored, precision)
                join_columns(strip, restored[0], column, weights)
                count.add("restoring")
            yield row, strip

    def _tile(self, row: Span, column: Span) -> TileInputs:
        crop = self.image[row.start : row.stop, column.start : column.stop]
        (top, bottom), (left, right) = row.own, column.own
        planes, route = to_planes(crop, self.model.stride), self.route
        return TileInputs(planes, route.prior[None], route.gates, (top, left), (bottom, right))


class _Counter:
    """Says how many tiles of how many are done."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def add(self, what: str) -> None:
        self._done += 1
        if self._progress is not None:
            detail = f"{what}, tile {self._done} of {self._total}"
            self._progress(self._done / self._total, detail)
