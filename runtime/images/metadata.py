"""What a file says about its picture, made true for the upright, restored one."""

import math
import re
import struct
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from PIL import Image

from lorair.runtime.images import exif, iptc, png, tiff
from lorair.runtime.images.picture import Metadata

# What a damaged block can make the parsers raise.
_DAMAGES = (ValueError, struct.error, SyntaxError, TypeError, KeyError, AttributeError, OSError)

PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
PNG_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
# Text that Pillow reads as what it is.
_NOT_TEXT = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_MAX_PNG_TEXT = 2**24

_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>))([1-8])(?=["'<])""")


def orientation(image: Image.Image) -> int:
    """EXIF's or else XMP's, 1 to 8, of a loaded picture; 1 if there is none or it is damaged.

    Of a TIFF always 1: Pillow has undone it.
    """
    if image.format == "TIFF":
        return 1
    try:
        found = exif.orientation(_embedded(image) or b"")
    except _DAMAGES:
        found = 0
    if not found and (match := _XMP_ORIENTATION.search(_xmp(image) or b"")):
        found = int(match[2])
    return found if 1 <= found <= 8 else 1


def from_image(
    image: Image.Image, file: Path, size: tuple[int, int], undone: int
) -> tuple[Metadata, list[str]]:
    """Return a loaded picture's metadata, and notes about what was lost.

    `image` is as its file stores it, `size` its width and height upright, and `undone` the
    orientation that the upright picture no longer has.
    """
    notes = []
    try:
        block = _embedded(image)
        if image.format == "TIFF":
            block, dropped = tiff.read_exif(file)
            if dropped:
                notes.append(f"TIFF fields were dropped: {', '.join(dropped)}")
        block = None if block is None else exif.upright(block, *size)
    except _DAMAGES:
        block = None
        notes.append("the EXIF data is damaged and was dropped")
    packet = _xmp(image)
    found = Metadata(
        exif=block,
        xmp=None if packet is None else _XMP_ORIENTATION.sub(rb"\g<1>1", packet),
        iptc=iptc.from_image(image),
        icc_profile=image.info.get("icc_profile") or None,
        dpi=_dpi(image.info.get("dpi"), undone >= 5),
        png=tuple(_png_chunks(file)) if image.format == "PNG" else (),
    )
    return found, notes


def _embedded(image: Image.Image) -> bytes | None:
    block: bytes | None = image.info.get("exif")
    if not block and (text := image.info.get("Raw profile type exif")):  # ImageMagick's, in PNG
        block = bytes.fromhex("".join(text.split("\n")[3:]))
    return block or None


def _xmp(image: Image.Image) -> bytes | None:
    packet = image.info.get("xmp")
    return packet if isinstance(packet, bytes) and packet else None


def _dpi(found: Any, turned: bool) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value < 2**15 for value in (x, y)):
        return None
    return (y, x) if turned else (x, y)


def _png_chunks(file: Path) -> Iterator[tuple[bytes, bytes]]:
    """Text and colour chunks, as they are; the file has been decoded, so they are whole."""
    total = 0
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        for kind, place, length in png.chunks(data):
            if kind in PNG_TEXT + PNG_COLOUR and total + length <= _MAX_PNG_TEXT:
                total += length
                found = data[place : place + length]
                if not found.startswith(_NOT_TEXT):
                    yield kind, found
