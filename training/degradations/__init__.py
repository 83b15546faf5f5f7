"""Weather on a clean picture, in the order of Setting I's experts.

Every function takes and returns float32 (H, W, 3) RGB in [0, 1] and draws all that is
random from the generator that it is given: the same seed, the same weather. Sizes are in
pixels of a picture of a few hundred pixels a side, times a scale.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from lorair.exporter.demo import CLASSES
from training.degradations.fields import Image, check_image
from training.degradations.rain import rain
from training.degradations.raindrop import raindrop
from training.degradations.snow import snow

Degradation = Callable[[Image, np.random.Generator, float, float], Image]

DEGRADATIONS: Final[dict[str, Degradation]] = {"snow": snow, "rain": rain, "raindrop": raindrop}
"""By class name; the order is that of the experts."""

WEATHER: Final = tuple(DEGRADATIONS)

CLEAN: Final = CLASSES[-1]

MODERATE: Final = 0.4
"""Least severity that is drawn where none is given; the most is 1."""


def degrade(
    image: Image,
    kind: str,
    rng: np.random.Generator,
    severity: float | None = None,
    scale: float = 1,
) -> Image:
    """Put weather of one kind on a picture.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].
        kind: one of `WEATHER`.
        rng: everything random comes from it.
        severity: 0 (hardly there) to 1 (heavy); None to draw it from `MODERATE` to 1.
        scale: of flakes, streaks and drops.

    Returns:
        (H, W, 3) float32 in [0, 1]; the input is left as it is.
    """
    check_image(image)
    if severity is None:
        severity = float(rng.uniform(MODERATE, 1))
    return DEGRADATIONS[kind](image, rng, severity, scale).clip(0, 1).astype(np.float32)


__all__ = [
    "CLASSES",
    "CLEAN",
    "DEGRADATIONS",
    "MODERATE",
    "WEATHER",
    "Image",
    "degrade",
    "rain",
    "raindrop",
    "snow",
]
