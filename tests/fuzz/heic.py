"""Fuzz `images.read` with HEIC files: libheif's container and decoder, and what ours makes of it.

    python tests/fuzz/heic.py -max_total_time=600 -timeout=5 -rss_limit_mb=1024 CORPUS_DIR

needs `pip install atheris` and the extra `heic`. Nothing of libheif is guided by coverage: it is
compiled. So the seeds are many kinds of small files.
"""

import itertools
from pathlib import Path

import numpy as np
import pictures
import pillow_heif
from PIL import Image

_EXIF = Image.Exif()
_EXIF[0x0112] = 6  # orientation
_EXTRAS = {
    "plain": {},
    "exif": {"exif": _EXIF.tobytes(), "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"},
    "hdr": {"color_primaries": 9, "transfer_characteristics": 16},
    "lossless": {"quality": -1, "chroma": 444},
}


def seed(corpus: Path) -> None:
    """Put HEIC files of all modes, depths and extras into a corpus."""
    values = np.random.default_rng(0).integers(0, 256, (24, 40, 4), np.uint8)
    for (mode, channels), (name, extra) in itertools.product(
        {"L": 1, "RGB": 3, "RGBA": 4}.items(), _EXTRAS.items()
    ):
        made = pillow_heif.from_bytes(mode, (40, 24), values[..., :channels].tobytes())
        made.save(corpus / f"{mode}-{name}.heic", **extra)
    deep = values[..., :3].astype(np.uint16) << 8
    pillow_heif.from_bytes("RGB;16", (40, 24), deep.tobytes()).save(corpus / "deep.heic")
    several = pillow_heif.from_bytes("RGB", (40, 24), values[..., :3].tobytes())
    several.add_from_pillow(Image.fromarray(values[..., :3]))
    several.save(corpus / "several.heic")


if __name__ == "__main__":
    pictures.fuzz(seed)
