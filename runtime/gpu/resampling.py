"""Pillow's bicubic resampling of 8-bit pictures as a table of integers, one axis at a time.

Pillow resizes along the rows, rounds to 8 bit, then resizes along the columns (for some tall
pictures it begins with the columns since its version 12.2). Each pass is
`result = clip((sum_t coefficient[t] * pixel[first + t] + half) >> PRECISION_BITS, 0, 255)`
with half = 2**(PRECISION_BITS - 1): integers only, so whoever follows the table gets
Pillow's picture to the bit.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

PRECISION_BITS: Final = 32 - 8 - 2
"""After the point: 8 bits are the pixel's, 2 are left for the sign and the overshoot."""

_SUPPORT: Final = 2.0
"""The cubic is zero farther from its centre than this."""


class BicubicTable(NamedTuple):
    """Which inputs make each output of one axis, and how much of each. Read-only.

    first: (target) int32, the first input's index.
    counts: (target) int32, how many inputs from there on, at least 1.
    coefficients: (taps, target) int32, taps = counts.max(), zero from counts on. The taps
        come first, so that neighbouring outputs read neighbouring numbers.
    """

    first: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    coefficients: npt.NDArray[np.int32]


@lru_cache(maxsize=32)
def bicubic_table(source: int, target: int) -> BicubicTable:
    """The table for `source` pixels to become `target`, both at least 1."""
    scale = source / target
    stretch = max(scale, 1.0)  # The filter widens when shrinking, against aliasing.
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum(centres - _SUPPORT * stretch + 0.5, 0).astype(np.int32)
    end = np.minimum(centres + _SUPPORT * stretch + 0.5, source).astype(np.int32)
    counts = end - first
    taps = np.arange(counts.max())[:, None]
    weights = _cubic((taps + first - centres + 0.5) * (1 / stretch))
    weights[taps >= counts] = 0
    # cumsum, not sum: one after the other, as Pillow adds them.
    table = BicubicTable(first, counts, _fixed_point(weights / weights.cumsum(axis=0)[-1]))
    for array in table:
        array.setflags(write=False)
    return table


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < _SUPPORT, far, 0.0))


def _fixed_point(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Rounded half away from zero: the cast drops the fraction."""
    half = np.where(weights < 0, -0.5, 0.5)
    return (half + weights * (1 << PRECISION_BITS)).astype(np.int32)
