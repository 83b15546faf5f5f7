"""Clean pictures to train on: photographs, dead leaves, and either with print on it.

Dead leaves (Lee, Mumford, Huang 2001): shapes that occlude one another, whose sizes follow
a power law, have the edges and the scaling of natural pictures. Here they also have
textures, gradients of light, and now and then a lens out of focus.
"""

from functools import cache
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from training import photographs
from training.degradations.fields import Field, Image, between, smooth_noise

TRAINING_PHOTOS: Final = (
    "brick", "clock", "coins", "grass", "gravel", "hubble_deep_field",
    "immunohistochemistry", "retina",
)  # fmt: skip
"""Functions of skimage.data whose pictures are trained on; all come with its wheel."""

HELD_OUT_PHOTOS: Final = ("astronaut", "camera", "chelsea", "coffee", "rocket")
"""Functions of skimage.data whose pictures are for evaluation, never trained on."""

VALIDATION_PHOTOS: Final = ("fig", "garden", "water")
"""Of `photographs.PHOTOGRAPHS`; the checkpoint is chosen on them, none is trained on."""

_LEAVES_SHARE, _PRINT_SHARE, _CAMERA_SHARE = 0.2, 0.12, 0.3
_MEGAPIXELS = 6.0
"""Of a photograph that pieces are cut from."""

_MOST_LEAVES = 5000
_LETTERS = "abcdefghijklmnoprstuvwxyzABCDEFGHKLMNPRSTUVXYZ0123456789 .:/-"
_TEXTURES = 24
_TEXTURE_SIDE = 512


def scene(rng: np.random.Generator, side: int, photos: tuple[str, ...] = TRAINING_PHOTOS) -> Image:
    """A clean picture, (side, side, 3) float32 in [0, 1].

    Args:
        rng: of everything drawn.
        side: height and width.
        photos: the photographs that may be in it.
    """
    if photos is not VALIDATION_PHOTOS and rng.random() < _LEAVES_SHARE:
        image = dead_leaves(rng, side)
    else:
        image = photo_crop(rng, side, photos)
    if rng.random() < _PRINT_SHARE:
        image = print_on(rng, image)
    return camera(rng, image) if rng.random() < _CAMERA_SHARE else image


def training_photos() -> tuple[str, ...]:
    """The packages' photographs, each three times as often as one of scikit-image's."""
    packaged = sorted(set(photographs.PHOTOGRAPHS) - set(VALIDATION_PHOTOS))
    return (*TRAINING_PHOTOS, *(3 * packaged))


def photograph(name: str) -> npt.NDArray[np.uint8]:
    """One of scikit-image's pictures by the name of its function, (H, W, 3) uint8 RGB."""
    from skimage import data

    pixels = np.asarray(getattr(data, name)())
    if pixels.dtype != np.uint8:
        pixels = (pixels.astype(np.float64) * 255 / pixels.max()).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def photo_crop(
    rng: np.random.Generator, side: int, photos: tuple[str, ...] = TRAINING_PHOTOS
) -> Image:
    """A piece of a photograph at a random scale, from full resolution to the whole picture.

    Returns:
        (side, side, 3) float32 in [0, 1].
    """
    pixels = _photo(photos[rng.integers(len(photos))])
    most = min(*pixels.shape[:2])
    taken = int(min(most, side * (most / side) ** between(rng, -0.15, 1.05)))
    y = rng.integers(pixels.shape[0] - taken + 1)
    x = rng.integers(pixels.shape[1] - taken + 1)
    crop = Pillow.fromarray(pixels[y : y + taken, x : x + taken])
    if rng.random() < 0.5:
        crop = crop.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    resized = np.asarray(crop.resize((side, side), Pillow.Resampling.BICUBIC)) / np.float32(255)
    if np.ptp(resized, axis=2).max() == 0:
        resized = resized ** rng.uniform(0.7, 1.5, 3)
    # Exposure: the few photographs in many lights.
    return (resized ** between(rng, 0.7, 1.4) * between(rng, 0.8, 1)).astype(np.float32)


def print_on(rng: np.random.Generator, image: Image) -> Image:
    """Lines of small, mostly light print: what looks like snow or drops and is none."""
    canvas = Pillow.fromarray(np.rint(image * 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 6)):
        x, y = map(float, rng.uniform(-0.1, 0.8, 2) * len(image))
        size = 8 * 2 ** between(rng, 0, 2.5)
        level = rng.integers(180, 256) if rng.random() < 0.6 else rng.integers(0, 256)
        colour = tuple(int(v) for v in np.clip(level + rng.integers(-20, 21, 3), 0, 255))
        for line in range(rng.integers(1, 5)):
            letters = rng.choice(list(_LETTERS), rng.integers(3, 24))
            font = ImageFont.load_default(size)
            draw.text((x, y + 1.3 * line * size), "".join(letters), fill=colour, font=font)
    return np.asarray(canvas, np.float32) / np.float32(255)


def camera(rng: np.random.Generator, image: Image) -> Image:
    """The picture as a camera keeps it: a little noise, JPEG of quality 60 to 97."""
    noisy = image + rng.normal(0, between(rng, 0, 0.012), image.shape)
    file = BytesIO()
    pixels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
    Pillow.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(60, 98)))
    with Pillow.open(file) as opened:
        return np.asarray(opened, np.float32) / np.float32(255)


def dead_leaves(rng: np.random.Generator, side: int) -> Image:
    """Shapes with sizes by a power law, the last in front.

    Returns:
        (side, side, 3) float32 in [0, 1].
    """
    palette = _palette(rng)
    image = np.empty((side, side, 3), np.float32)
    image[:] = palette[0]
    image += _light(rng, (side, side), 0.4)[..., None]
    radii = _radii(rng, side)
    texture_strength = between(rng, 0, 0.25)
    for radius in radii:
        _draw_leaf(rng, image, radius, palette, texture_strength)
    image *= 1 + _light(rng, (side, side), 0.35)[..., None]
    if rng.random() < 0.5:
        sigma = between(rng, 0.3, 1.8)
        image = gaussian_filter(image, (sigma, sigma, 0))
    return _tone(rng, image)


def _radii(rng: np.random.Generator, side: int) -> npt.NDArray[np.float64]:
    """Radii with density r^-a, enough of them to cover the picture a few times.

    Their order is random: what is in front does not follow from its size.
    """
    low = between(rng, 3, 7) if rng.random() < 0.7 else between(rng, 10, 40)
    high = side * between(rng, 0.25, 0.6)
    power = 1 - between(rng, 1.8, 3.2)
    u = rng.random(_MOST_LEAVES)
    radii = (low**power + u * (high**power - low**power)) ** (1 / power)
    covered = np.cumsum(radii**2) * 1.5 / side**2
    return radii[: int(np.searchsorted(covered, between(rng, 1.5, 4.0)))]


def _draw_leaf(
    rng: np.random.Generator,
    image: Image,
    radius: float,
    palette: npt.NDArray[np.float32],
    texture_strength: float,
) -> None:
    side = image.shape[0]
    cy, cx = rng.uniform(-0.1 * side, 1.1 * side, 2)
    top, bottom = max(0, int(cy - radius)), min(side, int(cy + radius) + 2)
    left, right = max(0, int(cx - radius)), min(side, int(cx + radius) + 2)
    if top >= bottom or left >= right:
        return
    y, x = np.ogrid[top:bottom, left:right]
    mask = _shape(rng, (y - cy) / radius, (x - cx) / radius, radius)
    colour = palette[rng.integers(len(palette))] + rng.normal(0, 0.05, 3).astype(np.float32)
    slope = rng.normal(0, 0.12, 2)
    shade = 1 + slope[0] * (y - cy) / radius + slope[1] * (x - cx) / radius
    if rng.random() < 0.6:
        shade = shade + texture_strength * rng.uniform(0.2, 1.5) * _texture(rng, mask.shape)
    leaf = colour * shade[..., None].astype(np.float32)
    region = image[top:bottom, left:right]
    region += mask[..., None] * (leaf - region)


def _shape(rng: np.random.Generator, v: Field, u: Field, radius: float) -> Field:
    """(h, w) 0 to 1: a turned superellipse (diamond, ellipse or box), its edge one pixel soft."""
    angle = between(rng, 0, np.pi)
    flat = between(rng, 0.25, 1)
    power = float(rng.choice([1.0, 2.0, 2.0, 3.0, 8.0]))
    along = np.abs(u * np.cos(angle) + v * np.sin(angle))
    across = np.abs(v * np.cos(angle) - u * np.sin(angle)) / flat
    # A box in its own circle: its corners must not leave the window.
    reach = 1.4 if power > 2 else 1.0
    level = ((along * reach) ** power + (across * reach) ** power) ** (1 / power)
    return ((1 - level) * radius * flat / reach + 0.5).clip(0, 1).astype(np.float32)


def _palette(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(n, 3) colours of one scene: a few hues, from nearly black to white, one in four vivid."""
    n = int(rng.integers(4, 10))
    hue = between(rng, 0, 1) + rng.normal(0, between(rng, 0.03, 0.4), n)
    saturation = rng.beta(1.3, 2.2, n) * between(rng, 0.2, 1)
    if rng.random() < 0.25:
        saturation = rng.beta(2.2, 1.0, n)
    value = rng.beta(0.9, 1.1, n)
    phases = hue[:, None] + np.array([0, 1 / 3, 2 / 3])
    tint = 0.5 + 0.5 * np.cos(2 * np.pi * phases)
    return (value[:, None] * (1 - saturation[:, None] * (1 - tint))).astype(np.float32)


def _light(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> Field:
    """(H, W) around 0: a soft change of light across the picture."""
    amount = np.float32(strength * rng.random())
    return amount * (smooth_noise(rng, shape, int(rng.integers(2, 5))) - np.float32(0.5))


def _tone(rng: np.random.Generator, image: Image) -> Image:
    """Exposure: most pictures are stretched to nearly the full range, as cameras do."""
    image = np.maximum(image, 0)
    low, high = np.percentile(image, (0.5, 99.5))
    black, white = abs(rng.normal(0, 0.03)), 1 - abs(rng.normal(0, 0.12))
    stretched = (image - low) / max(high - low, 0.1) * (white - black) + black
    return (stretched.clip(0, 1) ** between(rng, 0.8, 1.5)).astype(np.float32)


def _texture(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    bank = _texture_bank()
    field = bank[rng.integers(len(bank))]
    y = rng.integers(_TEXTURE_SIDE - shape[0] + 1)
    x = rng.integers(_TEXTURE_SIDE - shape[1] + 1)
    window = field[y : y + shape[0], x : x + shape[1]]
    return window.T.copy().T if rng.random() < 0.5 else -window


@cache
def _texture_bank() -> npt.NDArray[np.float32]:
    """(n, side, side), mean 0 and deviation 1: coloured noise, every third one stripes."""
    rng = np.random.default_rng(20240)
    fy = np.fft.fftfreq(_TEXTURE_SIDE)[:, None]
    fx = np.fft.rfftfreq(_TEXTURE_SIDE)[None]
    out = []
    for number in range(_TEXTURES):
        angle = between(rng, 0, np.pi)
        stretch = between(rng, 3, 10) if number % 3 == 0 else 1.0
        turned = np.hypot(
            (fy * np.cos(angle) + fx * np.sin(angle)) * stretch,
            fx * np.cos(angle) - fy * np.sin(angle),
        )
        spectrum = (turned + between(rng, 0.003, 0.03)) ** -between(rng, 0.7, 1.8)
        noise = np.fft.rfft2(rng.normal(size=(_TEXTURE_SIDE, _TEXTURE_SIDE)))
        field = np.fft.irfft2(noise * spectrum, (_TEXTURE_SIDE, _TEXTURE_SIDE))
        out.append((field - field.mean()) / field.std())
    return np.array(out, np.float32)


@cache
def _photo(name: str) -> npt.NDArray[np.uint8]:
    if name in photographs.PHOTOGRAPHS:
        return photographs.read(name, _MEGAPIXELS)
    return photograph(name)
