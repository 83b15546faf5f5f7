"""Falling snow: flakes at several distances, and a thin veil of those too far to be seen."""

import numpy as np
from scipy.ndimage import gaussian_filter

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
    ((3.5, 7.0), 0.00018, (0.35, 1.00)),
    ((7.0, 13.0), 0.00003, (0.30, 1.00)),
)
_KINDS = 4


def snow(image: Image, rng: np.random.Generator, severity: float, scale: float = 1) -> Image:
    """Flakes of all sizes drift one way; the nearest are large, few and often out of focus.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].
        rng: everything random comes from it.
        severity: 0 to 1: how many flakes, and how dense the veil.
        scale: of all sizes.

    Returns:
        (H, W, 3) float32.
    """
    shape = image.shape[:2]
    wind = between(rng, -0.8, 0.8)
    exposure = between(rng, 0, 2.5) if rng.random() < 0.8 else between(rng, 2.5, 6)
    light = sky_light(rng, 0.82, 1.0)
    air = 1 - 0.2 * severity * between(rng, 0.1, 1) * (0.5 + 0.5 * smooth_noise(rng, shape))
    layers = []
    for radii, density, opacities in _DISTANCES:
        # The sizes' shares differ from picture to picture; now and then one is missing.
        share = float(rng.lognormal(-0.1, 0.5)) * (rng.random() > 0.08)
        amount = density * (0.05 + severity) * share / scale**2
        low, high = (radius * scale for radius in radii)
        layers += _distance(rng, shape, (low, high), amount, opacities, wind, exposure)
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
        kernel = streak(path, radius * 0.75, wind + between(rng, -0.25, 0.25))
        flakes = scatter(rng, shape, density / _KINDS, _ragged(rng, kernel, radius))
        layers.append(flakes.clip(0, 1) * np.float32(between(rng, *opacities)))
    return layers


def _ragged(rng: np.random.Generator, kernel: Field, radius: float) -> Field:
    """A flake is no disc: its outline is uneven, its middle flat, its edge sharp or soft."""
    if kernel.shape[0] < 13:
        return kernel
    lumps = smooth_noise(rng, (kernel.shape[0], kernel.shape[1]), 5)
    uneven = kernel * (0.6 + 0.8 * lumps)
    flat = (uneven / uneven.max() * between(rng, 1.1, 4)).clip(0, 1)
    if rng.random() < 0.4:
        return flat.astype(np.float32)
    edge = ((flat - 0.5) * between(rng, 1.5, 5) + 0.5).clip(0, 1)
    return gaussian_filter(edge, between(rng, 0.4, 0.12 * radius + 0.5)).astype(np.float32)
