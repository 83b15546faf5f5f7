"""Small JPEGs of a picture before and after, which a result file keeps."""

import base64
import io
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from PIL import Image

from lorair.benchmarks.quality.datasets import PicturePair
from lorair.benchmarks.quality.metrics import Pixels
from lorair.benchmarks.schema.quality import Preview

SIDES: Final = (512, 448, 384, 352, 320, 288, 256, 224, 192, 128)
"""Longer sides that are tried in turn until the three pictures are small enough."""
MOST_BYTES: Final = 70_000
"""Of the three JPEGs together; six previews in base64 take 560 kB."""

_QUALITY: Final = 85


def spread(pairs: Sequence[PicturePair], count: int) -> set[int]:
    """Return the positions of `count` pictures, spread evenly over groups and through each."""
    groups: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        groups.setdefault(pair.group, []).append(position)
    shares = [count // len(groups) + (i < count % len(groups)) for i in range(len(groups))]
    chosen = [_evenly(group, share) for group, share in zip(groups.values(), shares, strict=True)]
    # A small group leaves some of its share to the others.
    rest = [p for group in zip_longest(*groups.values()) for p in group if p is not None]
    wanted = {position for group in chosen for position in group}
    for position in rest:
        if len(wanted) >= count:
            break
        wanted.add(position)
    return wanted


def _evenly(positions: Sequence[int], count: int) -> list[int]:
    count = min(count, len(positions))
    return [positions[i * len(positions) // count] for i in range(count)]


def preview(degraded: Pixels, restored: Pixels, truth: Pixels) -> Preview:
    """Return three (H, W, 3) uint8 pictures of one size as JPEGs of at most 512 pixels a side."""
    for side in SIDES:
        jpegs = [_jpeg(pixels, side) for pixels in (degraded, restored, truth)]
        if sum(map(len, jpegs)) <= MOST_BYTES:
            break
    first, second, third = (base64.b64encode(jpeg).decode("ascii") for jpeg in jpegs)
    return Preview(degraded=first, restored=second, truth=third)


def _jpeg(pixels: Pixels, side: int) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
