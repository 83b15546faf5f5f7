"""Pillow's limit on sizes, which is global and warns of what `check_size` has allowed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_lock = threading.Lock()


@contextmanager
def no_pillow_limit() -> Iterator[None]:
    """Off within the block; restored at once, for the host's other uses."""
    with _lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def load(image: Image.Image) -> None:
    """Decode a picture whose size has been checked; Pillow checks a TIFF's again."""
    if image.format == "TIFF":
        with no_pillow_limit():
            image.load()
    else:
        image.load()
