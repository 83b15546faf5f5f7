"""Pictures for people: `python -m training.pictures examples` (or one of the others).

examples: a small photograph with each weather and its clean original.
degradations: one photograph with every weather, side by side.
compare: what a bundle makes of the examples, before and after.
failures: what it does wrong, on held-out photographs.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lorair.runtime.restorer import Restorer
from training.degradations import WEATHER, degrade
from training.pairs import pairs
from training.scenes import photograph

SEEDS = {"snow": 3, "rain": 3, "raindrop": 5}

EXAMPLES = {"snow": "coffee", "rain": "rocket", "raindrop": "astronaut"}
"""Class -> photograph; all three public domain or CC0."""

_LEFT_ALONE = "astronaut"
"""The clean photograph in the comparison's last row."""

FAILURES = (
    ("rain", "chelsea_0"),
    ("raindrop", "chelsea_2"),
    ("raindrop", "coffee_0"),
    ("snow", "astronaut_1"),
)
"""Class and name of a pair: see `training.pairs`."""

_CROP = 300, 450
"""Height and width of what the comparison shows of each example."""

_GAP = 6
_LONGEST = 480
_SEVERITY = 0.75


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.pictures", description=__doc__)
    parser.add_argument("what", choices=("examples", "degradations", "compare", "failures"))
    parser.add_argument("--output", type=Path, help="folder of the examples, or file")
    parser.add_argument("--bundle", type=Path, default=Path("lorair-bundle"))
    options = parser.parse_args()
    if options.what == "examples":
        write_examples(options.output or Path("examples"))
    elif options.what == "degradations":
        write_degradations(options.output or Path("docs/degradations.jpg"))
    elif options.what == "compare":
        write_comparison(options.output or Path("docs/before-after.jpg"), options.bundle)
    else:
        write_failures(options.output or Path("docs/failures.jpg"), options.bundle)


def write_examples(folder: Path) -> None:
    """`CLASS.jpg` and `CLASS.clean.jpg` for each class."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, name in EXAMPLES.items():
        clean, degraded = example(kind, name)
        for pixels, ending in ((clean, "clean.jpg"), (degraded, "jpg")):
            path = folder / f"{kind}.{ending}"
            Image.fromarray(pixels).save(path, quality=92, subsampling=0)


def example(kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Clean and degraded, (H, W, 3) uint8, the longer side 480 at most."""
    image = Image.fromarray(photograph(name))
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    clean = np.asarray(image)
    rng = np.random.default_rng([SEEDS[kind], WEATHER.index(kind)])
    degraded = degrade(clean.astype(np.float32) / np.float32(255), kind, rng, _SEVERITY)
    return clean, np.rint(degraded * 255).astype(np.uint8)


def write_degradations(path: Path) -> None:
    """The coffee cup clean, then with each class's weather."""
    pictures = [example(kind, "coffee") for kind in WEATHER]
    row = [pictures[0][0], *(degraded for _, degraded in pictures)]
    _save(np.hstack([picture[:, 40:400] for picture in row]), path)


def write_comparison(path: Path, bundle: Path) -> None:
    """One row an example: degraded, restored, clean; the last one is clean from the start."""
    portrait = photograph(_LEFT_ALONE)
    examples = [example(kind, name) for kind, name in EXAMPLES.items()]
    _compare([*examples, (portrait, portrait)], path, bundle)


def write_failures(path: Path, bundle: Path) -> None:
    """One row a failure, as in the comparison."""
    photos = tuple({name.partition("_")[0] for _, name in FAILURES})
    made = {(kind, name): (clean, degraded) for kind, name, degraded, clean in pairs(3, photos)}
    _compare([made[failure] for failure in FAILURES], path, bundle)


def _compare(examples: list[tuple[np.ndarray, np.ndarray]], path: Path, bundle: Path) -> None:
    """Of clean and degraded pictures: degraded, restored, clean."""
    restorer = Restorer.open(bundle)
    rows = []
    for clean, degraded in examples:
        row = [degraded, restorer.restore(degraded).image, clean]
        rows.append([picture[: _CROP[0], : _CROP[1]] for picture in row])
    _save(_mosaic(rows), path)


def _mosaic(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Pictures of one size in rows, white lines between them."""
    margins = ((0, _GAP), (0, _GAP), (0, 0))
    framed = [[np.pad(p, margins, constant_values=255) for p in row] for row in rows]
    return np.vstack([np.hstack(row) for row in framed])[:-_GAP, :-_GAP]


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, quality=88)


if __name__ == "__main__":
    main()
