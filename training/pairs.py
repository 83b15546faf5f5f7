"""Evaluation pictures: `python -m training.pairs --output DIR`.

Writes DIR/CLASS/input and DIR/CLASS/target with the same file names, as `lorair-bench
quality` takes them, from the photographs that are held out; DIR/clean has no weather.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from training.degradations import CLASSES, degrade
from training.scenes import HELD_OUT_PHOTOS, photograph

DEFAULT_SEEDS = 3
CLEAN = "clean"

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


def pairs(
    seeds: int = DEFAULT_SEEDS, photos: tuple[str, ...] = HELD_OUT_PHOTOS
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Every photograph clean, and with every weather drawn `seeds` times.

    Yields:
        Class (or `clean`), name, degraded and clean picture (H, W, 3) uint8.
    """
    for photo in photos:
        clean = photograph(photo)
        yield CLEAN, photo, clean, clean
        for kind in CLASSES:
            for seed in range(seeds):
                yield kind, f"{photo}_{seed}", weather(clean, kind, photo, seed), clean


def weather(clean: np.ndarray, kind: str, photo: str, seed: int) -> np.ndarray:
    """The degraded picture, (H, W, 3) uint8; severity is drawn, from moderate to heavy."""
    numbers = [_EVALUATION, HELD_OUT_PHOTOS.index(photo), CLASSES.index(kind), seed]
    picture = clean.astype(np.float32) / np.float32(255)
    degraded = degrade(picture, kind, np.random.default_rng(numbers))
    return np.rint(degraded * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
