"""Weather that no training has seen: another generator, written from descriptions alone.

Snow: white, soft or sharp, irregular patches of any size, moved a little by the wind, over
a slightly milky picture. Rain: thin light lines of one direction, added to the light of the
scene, which a fog fades more towards the horizon. Drops: transparent lenses with the scene
upside down in them, dark at the upper edge and light at the lower one. Drawn with Pillow at
twice the size; it shares no code and no number with `training`.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Pixels = npt.NDArray[np.uint8]

WEATHER = ("snow", "rain", "raindrop")
_OVER = 2
"""Masks are drawn at this many times the size: that is how Pillow's edges become smooth."""


def degrade(clean: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Put weather of one kind on a picture, (H, W, 3) uint8; some of it, or a lot."""
    draw = {"snow": _snow, "rain": _rain, "raindrop": _drops}[kind]
    return np.asarray(draw(Image.fromarray(clean), rng, float(rng.uniform(0.5, 1))))


def _mask(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    mask = Image.new("L", (size[0] * _OVER, size[1] * _OVER))
    return mask, ImageDraw.Draw(mask)


def _snow(picture: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    milky = Image.blend(picture, Image.new("RGB", picture.size, (236, 238, 242)), 0.12 * amount)
    wind = rng.normal(0, 0.5)
    for radius, per_megapixel, blur in ((1.1, 9000, 0.5), (2.4, 2200, 0.8), (5.0, 260, 1.6)):
        mask, draw = _mask(picture.size)
        for _ in range(rng.poisson(per_megapixel * amount * np.prod(picture.size) / 1e6)):
            x, y = rng.uniform((0, 0), mask.size)
            r = radius * _OVER * rng.gamma(6, 1 / 6)
            turns = np.linspace(0, 2 * np.pi, 7)[:-1] + rng.uniform(0, 0.6, 6)
            ragged = r * rng.uniform(0.75, 1.25, 6)
            fall = 1 + 0.8 * float(rng.random())
            corners = [
                (x + q * np.cos(t) + wind * q * np.sin(t), y + fall * q * np.sin(t))
                for q, t in zip(ragged, turns, strict=True)
            ]
            draw.polygon(corners, fill=int(rng.uniform(150, 256)))
        soft = mask.filter(ImageFilter.GaussianBlur(blur * _OVER)).resize(picture.size)
        milky.paste((250, 250, 252), mask=soft)
    return milky


def _rain(picture: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    width, height = picture.size
    horizon = rng.uniform(0.2, 0.6) * height
    nearness = np.abs(np.arange(height) - horizon) / height
    fog = 255 * amount * 0.55 * np.exp(-1.2 * nearness)
    rows = np.repeat(fog.astype(np.uint8)[:, None], width, axis=1)
    grey = tuple(int(v) for v in rng.uniform(165, 215) + rng.uniform(-4, 4, 3))
    foggy = picture.copy()
    foggy.paste(grey, mask=Image.fromarray(rows))
    lean = rng.uniform(-0.35, 0.35)
    for length, thick, per_megapixel, light in ((18, 2, 3600, 90), (46, 3, 700, 110)):
        mask, draw = _mask(picture.size)
        for _ in range(rng.poisson(per_megapixel * amount * width * height / 1e6)):
            x, y = rng.uniform((0, -length), mask.size)
            run = length * _OVER * rng.uniform(0.6, 1.4)
            tilt = lean + rng.normal(0, 0.02)
            end = (x + run * np.sin(tilt), y + run * np.cos(tilt))
            draw.line([(x, y), end], fill=int(light * rng.uniform(0.5, 1)), width=thick)
        soft = mask.filter(ImageFilter.GaussianBlur(0.9)).resize(picture.size)
        foggy = ImageChops.screen(foggy, Image.merge("RGB", [soft] * 3))
    return foggy


def _drops(picture: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    width, height = picture.size
    inverted = picture.rotate(180).filter(ImageFilter.GaussianBlur(2))
    wet = picture.copy()
    focus = float(rng.uniform(0.6, 2))
    for _ in range(rng.poisson(300 * amount * width * height / 1e6)):
        r = 4 + rng.exponential(6)
        wide, tall = int(2 * r), int(2 * r * rng.uniform(1, 1.25))
        pad = int(3 * focus) + 1
        box = (wide + 2 * pad, tall + 2 * pad)
        x, y = int(rng.uniform(-r, width)), int(rng.uniform(-r, height))
        # A drop shows a quarter of the scene's width, around the mirrored place.
        left = min(max(width - x - width // 8, 0), width * 3 // 4)
        top = min(max(height - y - height // 8, 0), height * 3 // 4)
        seen = (left, top, left + width // 4, top + height // 4)
        lens = inverted.transform(box, Image.Transform.EXTENT, seen)
        lens = Image.fromarray(_lit(np.asarray(lens, np.float64), pad, rng))
        mask, draw = _mask(box)
        edges = (pad, pad, pad + wide, pad + tall)
        draw.ellipse([edge * _OVER for edge in edges], fill=int(rng.uniform(205, 256)))
        soft = mask.resize(box).filter(ImageFilter.GaussianBlur(focus))
        wet.paste(lens, (x - pad, y - pad), soft)
    return wet


def _lit(lens: npt.NDArray[np.float64], pad: int, rng: np.random.Generator) -> Pixels:
    """Darker towards the upper edge, lighter towards the lower, a bright spot at times."""
    tall, wide = lens.shape[0] - 2 * pad, lens.shape[1] - 2 * pad
    v = (np.arange(lens.shape[0])[:, None] - pad) / tall * 2 - 1
    u = (np.arange(lens.shape[1])[None] - pad) / wide * 2 - 1
    shade = 45 * v - 50 * np.clip(np.hypot(u, v), 0, 1) ** 3
    if rng.random() < 0.5:
        shade = shade + 90 * (np.hypot(u + 0.3, v + 0.4) < 0.18)
    return (lens + shade[..., None]).clip(0, 255).astype(np.uint8)
