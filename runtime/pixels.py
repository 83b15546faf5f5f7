"""The router's five views of a picture, exactly as the authors make them."""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

# CLIP's constants.
MEAN: Final = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD: Final = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

_ROWS: Final = 512


def make_views(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float32]:
    """The whole picture, then its four quarters row by row.

    Pillow's bicubic to side x side and to 2*side x 2*side, whatever the aspect ratio;
    the larger is cut in four; `(x / 255 - MEAN) / STD`.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        side: of a view in pixels, CLIP's input size.

    Returns:
        (1, 5, 3, side, side) float32.
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
