"""Pictures as the network takes them: float32 planes in [0, 1], and back."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import InternalError

Pixels = npt.NDArray[Any]
"""(H, W, 3) RGB: uint8, uint16, or float32 in [0, 1]."""

PEAKS: Final = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
"""The value of white by type."""

_ROWS: Final = 256
"""Converted at a time, so that a large picture is not held in float32."""


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
