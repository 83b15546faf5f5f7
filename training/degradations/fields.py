"""What the degradations have in common: checks, smooth fields, layers of particles."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom
from scipy.signal import fftconvolve

from lorair.runtime.errors import PictureError

Image = npt.NDArray[np.float32]
"""(H, W, 3) RGB in [0, 1]."""

Field = npt.NDArray[np.float32]
"""(H, W), one value a pixel."""


def check_image(image: Image) -> None:
    """Raise PictureError unless the array is an `Image`."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32:
        raise PictureError(
            "cannot degrade the picture",
            wanted="float32 (H, W, 3)",
            found=f"{image.dtype} {image.shape}",
        )


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform draw."""
    return float(rng.uniform(low, high))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int = 4) -> Field:
    """(H, W) in [0, 1]: a coarse random grid, `cells` a side, interpolated cubically."""
    grid = rng.random((cells, cells))
    field = zoom(
        grid, (shape[0] / cells, shape[1] / cells), order=3, mode="nearest", grid_mode=True
    )
    return field[: shape[0], : shape[1]].clip(0, 1).astype(np.float32)


def sky_light(rng: np.random.Generator, low: float, high: float) -> Image:
    """(1, 1, 3): the colour of scattered daylight, near grey."""
    light = between(rng, low, high) + rng.normal(0, 0.012, 3)
    return light.clip(0, 1).astype(np.float32)[None, None]


def streak(length: float, width: float, angle: float) -> Field:
    """A moving particle's image: a soft line, fading at its ends, its largest value 1.

    Args:
        length: of the path during the exposure, in pixels; 0 for a round dot.
        width: standard deviation across the path, in pixels.
        angle: of the path against the vertical, in radians.
    """
    reach = int(np.ceil(length / 2 + 3 * width)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = x * np.sin(angle) + y * np.cos(angle)
    across = x * np.cos(angle) - y * np.sin(angle)
    beyond = np.maximum(np.abs(along) - length / 2, 0)
    taper = 1 - 0.5 * (np.abs(along) / (length / 2 + 1)).clip(0, 1) ** 2
    kernel = np.exp(-(across**2 + beyond**2) / (2 * width**2)) * taper
    return (kernel / kernel.max()).astype(np.float32)


def scatter(
    rng: np.random.Generator, shape: tuple[int, int], density: float, kernel: Field
) -> Field:
    """(H, W) >= 0: the kernel at random places, each with its own strength.

    Particles also lie outside the picture, so that its border is like its inside.

    Args:
        rng: of the places and strengths (0.3 to 1).
        shape: of the picture.
        density: particles a pixel.
        kernel: one particle.
    """
    margin = kernel.shape[0] // 2
    canvas = np.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin), np.float32)
    count = rng.poisson(density * canvas.size)
    places = rng.integers(0, canvas.shape, (count, 2))
    canvas[places[:, 0], places[:, 1]] = rng.uniform(0.3, 1, count)
    field = fftconvolve(canvas, kernel, mode="same")
    inside = field[margin : margin + shape[0], margin : margin + shape[1]]
    return np.maximum(inside, 0).astype(np.float32)


def cover(layers: Sequence[Field]) -> Field:
    """Opacity of several layers, one behind the other: 1 - product of (1 - layer)."""
    clear = np.ones_like(layers[0])
    for layer in layers:
        clear *= 1 - layer.clip(0, 1)
    return 1 - clear


def veil(image: Image, transmission: Field, light: Image) -> Image:
    """Koschmieder's law: `image * t + light * (1 - t)`, t (H, W) in [0, 1]."""
    t = transmission[..., None]
    return image * t + light * (1 - t)


def blur(image: Image, sigma: float) -> Image:
    """A Gaussian blur over height and width."""
    return gaussian_filter(image, (sigma, sigma, 0), mode="reflect")
