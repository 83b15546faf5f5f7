"""Decoded files to upright arrays.

Pillow has no 16-bit colour: it decodes such files to their high bytes. Asked for the other
byte order it decodes them to their low bytes, so two passes give the whole.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.ExifTags import Base

from lorair.runtime.images import metadata
from lorair.runtime.images.picture import STRIP_ROWS, Samples

Decoded = tuple[Samples, Samples | None, int]
"""Pixels (H, W, 3) and alpha (H, W), upright, and the EXIF orientation that was undone."""

_NATIVE, _SWAPPED = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER_ORDER = {"B": "L", "L": "B", "N": _SWAPPED}
_COLOUR = ("RGB;16", "RGBA;16", "RGBX;16", "RGBa;16")
_GREY = ("I;16", "I;16B", "I;16N", "I;16L")
_PNG_GREY_ALPHA = "LA;16B"

_WHITE_IS_ZERO = 0


def avif_bits(file: Path) -> int:
    """Bits a channel, from the AV1 configuration box: 8, 10 or 12; Pillow decodes to 8."""
    with file.open("rb") as stream:
        head = stream.read(2**16)
    place = head.find(b"av1C") + 6
    flags = head[place] if 6 <= place < len(head) else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def deep_rawmode(image: ImageFile.ImageFile) -> str | None:
    """How 16-bit samples lie in the file, in Pillow's words; None if there are none."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return None
    arguments = image.tile[0].args
    rawmode = arguments[0] if isinstance(arguments, tuple) else arguments
    if not isinstance(rawmode, str):
        return None
    is_deep = rawmode.startswith(_COLOUR) or rawmode in (*_GREY, _PNG_GREY_ALPHA)
    return rawmode if is_deep else None


def decode_shallow(image: ImageFile.ImageFile) -> Decoded:
    """8 bits a channel."""
    bands = image.getbands()
    has_alpha = "A" in bands or "a" in bands or "transparency" in image.info
    mode = "RGBA" if has_alpha else "RGB"
    scale = _take_ppm_scale(image)
    canvas = _Canvas(image, np.uint8, has_alpha)
    canvas.add(lambda strip: np.asarray((strip.point(scale) if scale else strip).convert(mode)))
    return canvas.decoded


def decode_deep(
    image: ImageFile.ImageFile, rawmode: str, reopen: Callable[[], ImageFile.ImageFile]
) -> Decoded:
    """Decode 16 bits a channel of an image that is not loaded yet, by its `deep_rawmode`.

    `reopen` opens the file once more, for the second pass.
    """
    key = image.info.get("transparency")
    if rawmode in _GREY:
        inverts = _is_white_zero(image)
        canvas = _Canvas(image, np.uint16, has_alpha=False)
        canvas.add(lambda strip: _grey(strip, inverts))
    elif rawmode == _PNG_GREY_ALPHA:
        _set_rawmode(image, "RGBA")  # high and low byte of grey, high and low byte of alpha
        canvas = _Canvas(image, np.uint16, has_alpha=True)
        canvas.add(_grey_alpha)
    else:
        canvas = _colour(image, rawmode, reopen)
    if key is not None:
        canvas.add_colour_key(key)
    return canvas.decoded


def _take_ppm_scale(image: ImageFile.ImageFile) -> list[int]:
    """Have netpbm's values decoded as they are, and return what they mean in 0 to 255.

    Pillow scales them in Python, 2 microseconds each. Empty for any other file.
    """
    tile = image.tile[0] if image.tile else None
    if tile is None or tile.codec_name != "ppm" or not isinstance(tile.args, tuple):
        return []
    rawmode, maximum = tile.args
    image.tile = [tile._replace(codec_name="raw", args=rawmode)]
    return [min(255, round(value / maximum * 255)) for value in range(256)] * len(image.getbands())


class _Canvas:
    """Upright arrays, filled in the order in which the file stores its rows."""

    def __init__(self, image: Image.Image, dtype: Any, has_alpha: bool) -> None:
        tagged = getattr(image, "tag_v2", {}).get(Base.Orientation, 1)  # gone after loading
        image.load()
        self.image = image
        self.orientation = metadata.orientation(image)
        self.undone = max(tagged, self.orientation) if tagged in range(1, 9) else self.orientation
        width, height = image.size[::-1] if self.orientation >= 5 else image.size
        self.pixels: Any = np.zeros((height, width, 3), dtype)
        self.alpha: Any = np.zeros((height, width), dtype) if has_alpha else None

    def add(self, values: Callable[[Image.Image], npt.NDArray[Any]]) -> None:
        """Add `values` of each strip, (rows, W, channels)."""
        self.add_from(self.image, values, 1)

    def add_from(
        self, image: Image.Image, values: Callable[[Image.Image], npt.NDArray[Any]], factor: int
    ) -> None:
        """Add `values` of each strip of another decoding of the file, times `factor`."""
        image.load()
        pixels = _as_stored(self.pixels, self.orientation)
        alpha = None if self.alpha is None else _as_stored(self.alpha, self.orientation)
        scale = self.pixels.dtype.type(factor)
        for top in range(0, image.height, STRIP_ROWS):
            bottom = min(top + STRIP_ROWS, image.height)
            part = values(image.crop((0, top, image.width, bottom)))
            pixels[top:bottom] += part[..., :3] * scale
            if alpha is not None:
                alpha[top:bottom] += part[..., 3] * scale

    def add_colour_key(self, key: int | tuple[int, ...]) -> None:
        """Alpha from the one colour that a PNG calls transparent."""
        is_key = (self.pixels == np.array(key, self.pixels.dtype)).all(axis=-1)
        self.alpha = np.where(is_key, 0, 65535).astype(np.uint16)

    def unpremultiply(self) -> None:
        """Divide the colours by alpha."""
        for top in range(0, self.pixels.shape[0], STRIP_ROWS):
            rows = self.pixels[top : top + STRIP_ROWS]
            alpha = self.alpha[top : top + STRIP_ROWS, :, None].astype(np.uint64)
            straight = (rows * np.uint64(65535) + alpha // 2) // np.maximum(alpha, 1)
            rows[...] = np.minimum(straight, 65535)

    @property
    def decoded(self) -> Decoded:
        return self.pixels, self.alpha, self.undone


def _colour(
    image: ImageFile.ImageFile, rawmode: str, reopen: Callable[[], ImageFile.ImageFile]
) -> _Canvas:
    layout, order = rawmode[:-1], rawmode[-1]
    is_premultiplied = layout == "RGBa;16"
    if is_premultiplied:
        layout = "RGBA;16"
        _set_rawmode(image, layout + order)
    with reopen() as again:
        _set_rawmode(again, layout + _OTHER_ORDER[order])
        canvas = _Canvas(again, np.uint16, has_alpha=layout == "RGBA;16")
        canvas.add(np.asarray)
        again.close()  # its memory too, before the file is decoded again
    canvas.add_from(image, np.asarray, 256)
    if is_premultiplied:
        canvas.unpremultiply()
    return canvas


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    """Have Pillow take the file's samples for something else of the same size."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _grey(strip: Image.Image, inverts: bool) -> npt.NDArray[np.uint16]:
    values = np.asarray(strip).astype(np.uint16)[..., None]
    return np.broadcast_to(~values if inverts else values, (*values.shape[:2], 3))


def _grey_alpha(strip: Image.Image) -> npt.NDArray[np.uint16]:
    halves = np.asarray(strip).view(">u2").astype(np.uint16)
    return halves[..., [0, 0, 0, 1]]


def _is_white_zero(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and tags.get(Base.PhotometricInterpretation) == _WHITE_IS_ZERO


def _as_stored(upright: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A view of an upright array with the rows and columns of the file."""
    if orientation >= 5:
        upright = upright.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        upright = upright[::-1]
    if orientation in (2, 3, 7, 8):
        upright = upright[:, ::-1]
    return upright
