"""Evaluation pictures: `python -m training.pairs --output DIR`.

Writes DIR/CLASS/input and DIR/CLASS/target with the same file names, as `lorair-bench
quality` takes them, from the photographs that are held out; DIR/clean has no weather.
"""

import argparse
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from training import photographs
from training.degradations import CLEAN, WEATHER, degrade
from training.scenes import HELD_OUT_PHOTOS, photograph

DEFAULT_SEEDS: Final = 3

PHOTOS: Final = (*HELD_OUT_PHOTOS, *photographs.HELD_OUT)
"""Of scikit-image, then of the packages."""

MEGAPIXELS: Final = 0.4
"""Of a photograph that weather is put on: sizes of flakes and drops are in pixels."""

Pixels = npt.NDArray[np.uint8]
Generator = Callable[[Pixels, str, np.random.Generator], Pixels]
"""Clean picture, class, randomness -> degraded picture."""

_EVALUATION = 77
"""First number of the seeds, so that no draw of the training is met again."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.pairs", description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=DEFAULT_SEEDS, help="draws of each weather")
    parser.add_argument("--photos", nargs="+", default=HELD_OUT_PHOTOS)
    options = parser.parse_args()
    for kind, name, degraded, clean in pairs(options.seeds, tuple(options.photos)):
        for folder, pixels in (("input", degraded), ("target", clean)):
            path = options.output / kind / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def held_out(photo: str, megapixels: float = MEGAPIXELS) -> Pixels:
    """A held-out photograph by name, (H, W, 3) uint8, no larger than that."""
    if photo in HELD_OUT_PHOTOS:
        return photograph(photo)
    return photographs.read(photo, megapixels)


def drawn(clean: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """The training's weather; severity is drawn, from moderate to heavy."""
    degraded = degrade(clean.astype(np.float32) / np.float32(255), kind, rng)
    return np.rint(degraded * 255).astype(np.uint8)


def generator(path: Path | None) -> Generator:
    """The function `degrade` of another generator's file; None for the training's."""
    found: Generator = runpy.run_path(str(path))["degrade"] if path else drawn
    return found


def pairs(
    seeds: int = DEFAULT_SEEDS,
    photos: tuple[str, ...] = HELD_OUT_PHOTOS,
    weather: Generator = drawn,
) -> Iterator[tuple[str, str, Pixels, Pixels]]:
    """Every photograph clean, and with every weather drawn `seeds` times.

    Yields:
        Class, name, degraded and clean picture (H, W, 3) uint8.
    """
    for photo in photos:
        clean = held_out(photo)
        yield CLEAN, photo, clean, clean
        for number, kind in enumerate(WEATHER):
            for seed in range(seeds):
                rng = np.random.default_rng([_EVALUATION, PHOTOS.index(photo), number, seed])
                yield kind, f"{photo}_{seed}", weather(clean, kind, rng), clean


def pieces(count: int, photos: tuple[str, ...]) -> Iterator[tuple[str, Pixels]]:
    """`count` pieces of photographs for the router, each clean and with every weather.

    Yields:
        Class and picture (H, W, 3) uint8, of 256 pixels a side to the whole photograph.
    """
    for number in range(count):
        rng = np.random.default_rng([_EVALUATION, 1000, number])
        whole = held_out(photos[number % len(photos)])
        height, width = (int(rng.integers(256, side + 1)) for side in whole.shape[:2])
        y, x = (
            int(rng.integers(a - b + 1))
            for a, b in zip(whole.shape[:2], (height, width), strict=True)
        )
        clean = whole[y : y + height, x : x + width]
        yield CLEAN, clean
        for kind in WEATHER:
            yield kind, drawn(clean, kind, rng)


if __name__ == "__main__":
    main()
