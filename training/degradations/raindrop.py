"""Drops on the lens or a pane before it: each a small wide-angle lens, out of focus."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from training.degradations.fields import Field, Image, between, blur

_COVERED = (0.08, 0.40)
"""Share of the picture that drops cover at severity 1, least and most."""

_RADII = (2.0, 40.0)
"""Least and largest radius in pixels. A picture has its own bounds between them."""

_POWERS = (-3.2, -1.8)
"""The number of drops falls with the radius to such a power."""

_OPACITY = (0.7, 1.0)
"""Of a drop's middle, least and most. Light passes beside a drop only where it is smaller
than the blur of its outline, which the defocus below takes care of."""


@dataclass(frozen=True)
class _Light:
    """How the light falls, the same on every drop of a picture.

    rim: how much darker the rim is, where light arrives at grazing angles.
    sky: how much brighter the lower half than the upper: the sky, upside down.
    glint: strength of the light source's image; at: its place (down, right) in radii.
    """

    rim: float
    sky: float
    glint: float
    at: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Light":
        at = between(rng, -0.55, -0.2), between(rng, -0.45, 0.45)
        rim, sky = between(rng, 0.1, 0.5), between(rng, 0.05, 0.4)
        return cls(rim, sky, between(rng, 0, 0.8), at)

    def shade(self, rng: np.random.Generator, v: Field, u: Field, r: Field) -> Field:
        """What is added to a drop; v, u: down and right in radii, r: 1 at the outline."""
        glint = np.exp(-((v - self.at[0]) ** 2 + (u - self.at[1]) ** 2) / 0.015)
        shade = self.sky * v - self.rim * r.clip(0, 1) ** 4 + self.glint * glint
        return (between(rng, 0.7, 1) * shade).astype(np.float32)


class _Film:
    """The water on the glass, added drop by drop; all fields are (H, W).

    opacity: 0 to 1. y, x: where in the scene the light of a pixel comes from.
    shade: what is added: dark rims, bright glints.
    """

    def __init__(self, shape: tuple[int, int], light: _Light) -> None:
        self.shape, self.light = shape, light
        self.y, self.x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        self.opacity = np.zeros(shape, np.float32)
        self.shade = np.zeros(shape, np.float32)

    def add(self, rng: np.random.Generator, radius: float, opacity: float) -> None:
        """One drop anywhere on the glass, in front of those already there."""
        cy, cx = rng.uniform(0, self.shape[0]), rng.uniform(0, self.shape[1])
        reach = int(radius * 1.8) + 2
        rows = slice(max(0, int(cy) - reach), int(cy) + reach + 1)
        columns = slice(max(0, int(cx) - reach), int(cx) + reach + 1)
        y, x = np.ogrid[
            rows.start : min(rows.stop, self.shape[0]),
            columns.start : min(columns.stop, self.shape[1]),
        ]
        dy, dx = (y - cy).astype(np.float32), (x - cx).astype(np.float32)
        r = np.hypot(dy, dx) / (radius * _outline(rng, dy, dx))
        inside = ((1 - r) * radius / 1.5 + 0.5).clip(0, 1)
        wet = inside > 0
        # Upside down and smaller: a drop images a wide field. The edge bends most.
        bend = between(rng, 2.0, 4.0) * (0.6 + 0.8 * r**2)
        self.y[rows, columns][wet] = (cy - bend * dy)[wet]
        self.x[rows, columns][wet] = (cx - bend * dx)[wet]
        self._blend(self.opacity[rows, columns], inside, opacity)
        shade = self.light.shade(rng, dy / radius, dx / radius, r)
        self._blend(self.shade[rows, columns], inside, shade)

    @staticmethod
    def _blend(field: Field, inside: Field, value: Field | float) -> None:
        field += inside * (value - field)


def raindrop(image: Image, rng: np.random.Generator, severity: float, scale: float = 1) -> Image:
    """Drops, many small ones or few large ones, refract the scene behind them.

    The camera mostly focuses on the scene, so a drop's outline and what it shows are
    blurred, and light passes beside a drop smaller than that blur.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].
        rng: everything random comes from it.
        severity: 0 (no drops) to 1: how much of the picture they cover.
        scale: of all sizes.

    Returns:
        (H, W, 3) float32.
    """
    shape = image.shape[0], image.shape[1]
    film = _Film(shape, _Light.draw(rng))
    opacity = between(rng, *_OPACITY)
    area = between(rng, *_COVERED) * severity * shape[0] * shape[1]
    for radius in _radii(rng, area, scale):
        film.add(rng, radius, between(rng, opacity, 1))
    # Sharp where the pane is far or the lens short; else blurred, to as much as small drops.
    defocus = between(rng, 0.3, 1.0) if rng.random() < 0.4 else between(rng, 0.8, 4.0)
    defocus *= scale
    seen = _refract(blur(image, 1 + defocus), film) + film.shade[..., None]
    alpha = gaussian_filter(film.opacity, defocus)[..., None]
    return image * (1 - alpha) + blur(seen.clip(0, 1), defocus) * alpha


def _radii(rng: np.random.Generator, area: float, scale: float) -> list[float]:
    """Radii by a power law until they cover the area, the smallest first: large ones in front."""
    least = _RADII[0] * 2 ** between(rng, 0, 1.6)
    most = least * 2 ** between(rng, 1, 4)
    power = between(rng, *_POWERS) + 1
    low, high = (min(bound, _RADII[1]) ** power for bound in (least, most))
    draws = scale * (low + rng.random(4000) * (high - low)) ** (1 / power)
    covered = np.cumsum(np.pi * draws**2)
    return sorted(map(float, draws[: int(np.searchsorted(covered, area))]))


def _outline(rng: np.random.Generator, dy: Field, dx: Field) -> Field:
    """Relative radius by direction, around 1: uneven, and drawn down a little by gravity."""
    direction = np.arctan2(dy, dx)
    outline = 1 + between(rng, 0, 0.25) * np.maximum(np.sin(direction), 0) ** 3
    for order in (2, 3, 5):
        phase = between(rng, 0, 2 * np.pi)
        outline += between(rng, 0, 0.3 / order) * np.cos(order * direction + phase)
    return outline.astype(np.float32)


def _refract(image: Image, film: _Film) -> Image:
    where = np.stack([film.y, film.x])
    planes = [map_coordinates(image[..., c], where, order=1, mode="mirror") for c in range(3)]
    return np.stack(planes, axis=-1)
