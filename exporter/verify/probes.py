"""Pictures to check routes on: photographs with simple flaws of many kinds.

Not the degradations that the network was trained for, and not meant to look real: they
move the router about, near to and across its borders.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorair.runtime import images

Picture = npt.NDArray[Any]
"""(H, W, 3) float32 in [0, 1]."""


def probe(photographs: Sequence[Path], number: int) -> npt.NDArray[np.uint8]:
    """Return a picture (H, W, 3) uint8 by its number; the same photographs give the same one.

    Each seven in a row have every flaw; a flaw meets every photograph in turn.
    """
    rng = np.random.default_rng([16, number])
    turn, kind = divmod(number, len(_FLAWS))
    pixels = images.read(photographs[(turn + kind) % len(photographs)]).pixels
    picture = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    flawed = _FLAWS[kind](_cropped(picture, rng), rng).clip(0, 1)
    found: npt.NDArray[np.uint8] = np.rint(flawed * 255).astype(np.uint8)
    return found


def _cropped(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = (int(side * rng.uniform(0.6, 1)) or 1 for side in picture.shape[:2])
    y, x = (
        rng.integers(whole - part + 1)
        for whole, part in zip(picture.shape, (height, width), strict=False)
    )
    return picture[y : y + height, x : x + width]


def _clean(picture: Picture, _: np.random.Generator) -> Picture:
    return picture


def _noise(picture: Picture, rng: np.random.Generator) -> Picture:
    grain = rng.normal(0, rng.uniform(0.02, 0.15), picture.shape)
    return picture + grain.astype(np.float32)


def _haze(picture: Picture, rng: np.random.Generator) -> Picture:
    veil = rng.uniform(0.1, 0.6)
    return picture * np.float32(1 - veil) + np.float32(0.8 * veil)


def _dark(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(picture ** np.float32(rng.uniform(1.5, 3)))


def _specks(picture: Picture, rng: np.random.Generator) -> Picture:
    hit = rng.random((*picture.shape[:2], 1)) < rng.uniform(0.01, 0.08)
    return np.where(hit, np.float32(0.95), picture)


def _streaks(picture: Picture, rng: np.random.Generator) -> Picture:
    streaks = rng.random(picture.shape[:2]) < 0.004
    for step in (1, 2, 4, 8):
        streaks |= np.roll(streaks, step, axis=0)
    return picture + np.float32(0.35) * streaks[..., None]


def _smeared(picture: Picture, rng: np.random.Generator) -> Picture:
    axis = int(rng.integers(2))
    shifted = [np.roll(picture, step, axis) for step in range(int(rng.integers(3, 9)))]
    return np.asarray(np.mean(shifted, axis=0, dtype=np.float32))


_FLAWS: tuple[Callable[[Picture, np.random.Generator], Picture], ...] = (
    _clean,
    _noise,
    _streaks,
    _specks,
    _haze,
    _dark,
    _smeared,
)
