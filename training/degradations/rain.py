"""Rain: bright streaks at several distances, and haze that grows with distance."""

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

# Distance: length and width of a streak in pixels (least, most), streaks a pixel at
# severity 1, opacity.
_DISTANCES = (
    ((6.0, 14.0), (0.45, 0.60), 0.0060, (0.12, 0.30)),
    ((14.0, 28.0), (0.55, 0.85), 0.0022, (0.20, 0.45)),
    ((28.0, 60.0), (0.80, 1.50), 0.0005, (0.22, 0.55)),
    ((60.0, 120.0), (1.00, 2.40), 0.00012, (0.15, 0.55)),
)

_CURTAINS = 0.3
"""Share of pictures with curtains: bands of dense rain along its direction."""


def rain(image: Image, rng: np.random.Generator, severity: float, scale: float = 1) -> Image:
    """Streaks fall nearly parallel, before a scene that fades into haze.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].
        rng: everything random comes from it.
        severity: 0 to 1: how many streaks, and how dense the haze; from drizzle to curtains.
        scale: of all sizes.

    Returns:
        (H, W, 3) float32.
    """
    shape = image.shape[:2]
    light = sky_light(rng, 0.62, 0.94)
    thickness = (0.03 + 0.70 * severity) * between(rng, 0.5, 1)
    slant = between(rng, -0.7, 0.7)
    distance = _distance_map(rng, shape)
    if rng.random() < _CURTAINS:
        distance = distance + severity * between(rng, 0.2, 0.6) * _curtains(rng, shape, slant)
    transmission = np.exp(-thickness * distance)
    amount = (0.1 + severity * between(rng, 0.6, 1.1)) / scale**2
    layers = []
    for lengths, widths, density, opacities in _DISTANCES:
        share = float(rng.lognormal(-0.1, 0.5)) * (rng.random() > 0.08)
        long, wide = ((low * scale, high * scale) for low, high in (lengths, widths))
        layers.append(_streaks(rng, shape, slant, density * amount * share, long, wide, opacities))
    # A drop shows a wide piece of the sky, whatever lies behind it.
    glint = sky_light(rng, 0.8, 1.0)
    return veil(veil(image, transmission, light), 1 - cover(layers), glint)


def _distance_map(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """(H, W) around 0.4 to 1.2: farther towards the top, with hills."""
    ramp = np.linspace(1, 0, shape[0], dtype=np.float32)[:, None]
    tilt = between(rng, 0, 0.5)
    hills = smooth_noise(rng, shape, 3)
    return 0.55 + tilt * (ramp - 0.4) + between(rng, 0, 0.3) * (hills - 0.3)


def _curtains(rng: np.random.Generator, shape: tuple[int, int], slant: float) -> Field:
    """(H, W) in [0, 1]: bands along the rain's direction."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    across = (x - y * np.tan(slant)) / shape[1]
    profile = rng.random(12)
    return np.interp(across, np.linspace(-1, 2, 12), profile).astype(np.float32)


def _streaks(
    rng: np.random.Generator,
    shape: tuple[int, int],
    slant: float,
    density: float,
    lengths: tuple[float, float],
    widths: tuple[float, float],
    opacities: tuple[float, float],
) -> Field:
    """One distance: two kinds of streaks, unevenly spread as gusts do."""
    field = np.zeros(shape, np.float32)
    for _ in range(2):
        kernel = streak(
            between(rng, *lengths), between(rng, *widths), slant + between(rng, -0.06, 0.06)
        )
        field += scatter(rng, shape, density / 2, kernel)
    gusts = 0.6 + 0.6 * smooth_noise(rng, shape, 4)
    return (field * gusts).clip(0, 1) * np.float32(between(rng, *opacities))
