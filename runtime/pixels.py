"""Pictures as the two networks take them: float32 planes, and the router's five views.

The views are made exactly as the authors make them.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorair.runtime.errors import InternalError

Array = npt.NDArray[np.float32]
"""What the networks take and give."""

Pixels = npt.NDArray[Any]
"""(H, W, 3) RGB: uint8, uint16, or float32 in [0, 1]."""

PEAKS: Final = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
"""The value of white by type."""

_ROWS: Final = 256
"""Converted at a time, so that no second copy of a large picture is made."""


def padded_size(size: tuple[int, ...], stride: int) -> tuple[int, int]:
    """Height and width, each up to a multiple of the stride."""
    height, width = size
    return height + -height % stride, width + -width % stride


def to_planes(image: Pixels, stride: int) -> npt.NDArray[np.float32]:
    """(H, W, 3) -> (1, 3, H', W') in [0, 1], zero-padded right and bottom to the stride."""
    height, width = image.shape[:2]
    planes = np.zeros((1, 3, *padded_size((height, width), stride)), np.float32)
    scaled = image.astype(np.float32) / np.float32(PEAKS[image.dtype])
    planes[0, :, :height, :width] = scaled.transpose(2, 0, 1)
    return planes


def from_planes(
    planes: npt.NDArray[np.float32], size: tuple[int, ...], dtype: np.dtype[Any]
) -> Pixels:
    """(1, 3, H', W') -> (H, W, 3): cropped, clamped to [0, 1], scaled, rounded half to even."""
    height, width = size
    image = planes[0, :, :height, :width].transpose(1, 2, 0).clip(0, 1)
    if dtype == np.float32:
        return np.ascontiguousarray(image)
    return np.ascontiguousarray(np.rint(image * np.float32(PEAKS[dtype])).astype(dtype))


def check_finite(planes: npt.NDArray[np.float32], precision: str) -> None:
    """Raise InternalError at NaN or infinity: NaN would be saved as black."""
    if not np.isfinite(planes).all():
        raise no_picture(precision)


def no_picture(precision: str) -> InternalError:
    """The error for a result that is not finite."""
    return InternalError(
        "the network's result is no picture",
        wanted="finite values",
        found=f"NaN or infinity in an {precision} bundle",
        hint="build it with --fp32" if precision == "fp16" else "check the weights",
    )


def as_uint8(image: Pixels) -> npt.NDArray[np.uint8]:
    """What the router sees; it was trained on 8-bit pictures."""
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    rounded = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), _ROWS):
        rows = image[top : top + _ROWS].astype(np.float32)
        rows *= np.float32(255 / PEAKS[image.dtype])
        rounded[top : top + _ROWS] = np.rint(rows.clip(0, 255))
    return rounded


# CLIP's constants.
MEAN: Final = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD: Final = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def make_views(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float32]:
    """Return the whole picture, then its four quarters row by row: (1, 5, 3, side, side) float32.

    A picture (H, W, 3) is resized with Pillow's bicubic to side x side and to 2*side x 2*side
    pixels, whatever its aspect ratio; the larger is cut in four; `(x / 255 - MEAN) / STD`. The
    side is CLIP's input size.
    """
    whole = _resize(pixels, side)
    double = _resize(pixels, 2 * side)
    tiles = [double[y : y + side, x : x + side] for y in (0, side) for x in (0, side)]
    stack = np.stack([whole, *tiles]).astype(np.float32)
    normalised = (stack / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)[None])


def _resize(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    # Width first, as Pillow did when the weights were trained; since 12.2 it may choose the
    # other order for tall pictures, which changes some values by 1. Rows are independent
    # here; some at a time, so that no second copy of a large picture is made.
    narrow = np.empty((len(pixels), side, 3), np.uint8)
    for top in range(0, len(pixels), _ROWS):
        rows = Image.fromarray(pixels[top : top + _ROWS])
        resized = rows.resize((side, rows.height), Image.Resampling.BICUBIC)
        narrow[top : top + _ROWS] = np.asarray(resized)
    square = Image.fromarray(narrow).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(square)
