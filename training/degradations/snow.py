"""Falling snow: flakes at several distances, and a thin veil of those too far to be seen."""

import numpy as np

from training.degradations.fields import (
    Field,
    Image,
    between,
    cover,
    scatter,
    sky_light,
    smooth_noise,
    streak,
    veil,
)

# Distance: radius of a flake in pixels (least, most), flakes a pixel at severity 1, opacity.
_DISTANCES = (
    ((0.6, 1.0), 0.0090, (0.50, 0.90)),
    ((1.0, 1.9), 0.0042, (0.60, 1.00)),
    ((1.9, 3.4), 0.0012, (0.60, 1.00)),
    ((3.5, 7.0), 0.00016, (0.35, 0.80)),
)
_KINDS = 3


def snow(image: Image, rng: np.random.Generator, severity: float) -> Image:
    """Flakes of all sizes drift one way; the nearest are large, few and out of focus.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].
        rng: everything random comes from it.
        severity: 0 to 1: how many flakes, and how dense the veil.

    Returns:
        (H, W, 3) float32.
    """
    shape = image.shape[:2]
    wind = between(rng, -0.7, 0.7)
    exposure = between(rng, 0, 2.5)
    light = sky_light(rng, 0.88, 0.99)
    air = 1 - 0.16 * severity * between(rng, 0.2, 1) * (0.5 + 0.5 * smooth_noise(rng, shape))
    layers = [
        layer
        for radii, density, opacities in _DISTANCES
        for layer in _distance(
            rng, shape, radii, density * (0.05 + severity), opacities, wind, exposure
        )
    ]
    return veil(veil(image, air, light), 1 - cover(layers), light)


def _distance(
    rng: np.random.Generator,
    shape: tuple[int, int],
    radii: tuple[float, float],
    density: float,
    opacities: tuple[float, float],
    wind: float,
    exposure: float,
) -> list[Field]:
    """The flakes of one distance, in a few kinds; the nearer the faster they cross."""
    layers = []
    for _ in range(_KINDS):
        radius = between(rng, *radii)
        path = radius * exposure * between(rng, 0.5, 1.2)
        kernel = _ragged(rng, streak(path, radius * 0.75, wind + between(rng, -0.25, 0.25)))
        flakes = scatter(rng, shape, density / _KINDS, kernel)
        layers.append(flakes.clip(0, 1) * np.float32(between(rng, *opacities)))
    return layers


def _ragged(rng: np.random.Generator, kernel: Field) -> Field:
    """A flake is no disc: its outline is uneven, its middle flat."""
    if kernel.shape[0] < 13:
        return kernel
    lumps = smooth_noise(rng, (kernel.shape[0], kernel.shape[1]), 5)
    uneven = kernel * (0.6 + 0.8 * lumps)
    return (uneven / uneven.max() * 1.3).clip(0, 1).astype(np.float32)
