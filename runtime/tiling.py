"""Pictures in tiles: where they lie, and how they are joined again.

Everything is in pixels of the padded picture. Tiles begin and end at multiples of the
network's stride, so that each of its levels sees the same grid as in the whole picture.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import OptionError

Array = npt.NDArray[np.float32]
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
