"""Polygraphy's inputs: photographs as each graph takes them. Needs NumPy alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def router() -> Iterator[dict[str, Any]]:
    """Yield the five views of each photograph, (1, 5, 3, S, S)."""
    return _inputs("views")


def restorer() -> Iterator[dict[str, Any]]:
    """Yield each photograph's padded planes (1, 3, H, W) in [0, 1], its prior and its gates."""
    return _inputs("image", "prior", "gates")


def _inputs(*names: str) -> Iterator[dict[str, Any]]:
    for file in sorted(Path(__file__).with_name("inputs").glob("*.npz")):
        with np.load(file) as arrays:
            yield {name: arrays[name] for name in names}
