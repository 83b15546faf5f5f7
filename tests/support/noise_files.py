"""Folders of pictures, and what is in a folder."""

from pathlib import Path

import numpy as np
from PIL import Image


def pictures(folder: Path, count: int, side: int = 16) -> Path:
    """Pictures of noise, side x side: each file is unlike every other."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number:03}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's, by its path in the folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
