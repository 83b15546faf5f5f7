"""What a picture is between two files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorair.runtime.errors import PictureError

MIN_PIXELS: Final = 2

STRIP_ROWS: Final = 128
"""Rows that are converted at once: pictures are never copied whole in another layout."""

GAP: Final = 8
"""White pixels between before and after."""

Samples = npt.NDArray[Any]
"""uint8 or uint16."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture.

    exif: a TIFF block, orientation 1, without a thumbnail and without the `Exif` prefix.
    xmp: the packet.
    iptc: a JPEG's IPTC records.
    icc_profile: what the pixels' values mean; of a grey picture a grey profile.
    dpi: horizontal and vertical resolution in dots an inch.
    png: chunks (kind, data) that only a PNG holds: text, gamma, chromaticities.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    png: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the restorer takes it.

    pixels: (H, W, 3) RGB, upright; uint8, or uint16 if the file has 16 bits a channel.
    alpha: (H, W) of the same type, straight (not premultiplied), or None.
    is_grey: the file has no colour, and what is written should have none.
    metadata: for the restored picture's file.
    notes: what was lost in reading, for the user.
    """

    pixels: Samples
    alpha: Samples | None = None
    is_grey: bool = False
    metadata: Metadata = field(default=Metadata())
    notes: tuple[str, ...] = field(default=())

    def with_pixels(self, pixels: Samples) -> "Picture":
        """The same picture with other colours."""
        return replace(self, pixels=pixels)

    @property
    def mode(self) -> str:
        """What is written: `L`, `LA`, `RGB` or `RGBA`."""
        return ("L" if self.is_grey else "RGB") + ("" if self.alpha is None else "A")

    def strips(self) -> Iterator[Samples]:
        """The picture as it is written, from the top: (rows, W, channels of `mode`)."""
        for top in range(0, self.pixels.shape[0], STRIP_ROWS):
            rows = self.pixels[top : top + STRIP_ROWS]
            colour = to_luma(rows) if self.is_grey else rows
            if self.alpha is None:
                yield np.ascontiguousarray(colour)
            else:
                yield np.dstack([colour, self.alpha[top : top + STRIP_ROWS]])


def to_luma(pixels: Samples) -> Samples:
    """(H, W, 3) -> (H, W, 1): BT.601's luma, which keeps equal channels as they are."""
    weighted = pixels.astype(np.uint32) @ np.array([299, 587, 114], np.uint32)
    luma: Samples = ((weighted + 500) // 1000).astype(pixels.dtype)[..., None]
    return luma


def to_uint8(values: Samples) -> npt.NDArray[np.uint8]:
    """8-bit values as they are, 16-bit ones divided by 257 and rounded."""
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    small = (values // np.uint16(257)).astype(np.uint8)
    small += values % np.uint16(257) > 128
    return small


def side_by_side(before: Picture, after: Picture) -> Picture:
    """Two pictures of one size, 8 bit, without alpha, in the first one's colour profile."""
    height, width = before.pixels.shape[:2]
    both = np.full((height, 2 * width + GAP, 3), 255, np.uint8)
    both[:, :width] = to_uint8(before.pixels)
    both[:, width + GAP :] = to_uint8(after.pixels)
    profile = Metadata(icc_profile=before.metadata.icc_profile)
    return Picture(both, is_grey=before.is_grey, metadata=profile)


def check_size(width: int, height: int, max_pixels: float, name: str) -> None:
    """Raise PictureError if there is nothing to restore, or more than the limit."""
    pixels = width * height
    if pixels < MIN_PIXELS:
        raise PictureError(
            f"cannot restore {name}",
            wanted=f"at least {MIN_PIXELS} pixels",
            found=f"{width}x{height}",
            hint="give a larger picture",
        )
    if pixels > max_pixels:
        raise PictureError(
            f"cannot restore {name}",
            wanted=f"at most {max_pixels / 1e6:g} megapixels",
            found=f"{width}x{height}, {pixels / 1e6:.6g} megapixels",
            hint="raise the limit with --max-pixels if the file can be trusted",
        )


class _PillowLimit:
    """Pillow's limit on sizes, which is global and warns of what `check_size` has allowed."""

    def __init__(self) -> None:
        self._lock, self._blocks = threading.Lock(), 0

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Lift it; the last of all threads to leave restores it, for the host's other uses."""
        with self._lock:
            if self._blocks == 0:
                self._before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if self._blocks == 0:
                    Image.MAX_IMAGE_PIXELS = self._before


pillow_limit: Final = _PillowLimit()
