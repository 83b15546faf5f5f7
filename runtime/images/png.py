"""16-bit PNG, which Pillow does not write in colour."""

import struct
import zlib
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL.PngImagePlugin import PngInfo

from lorair.runtime.images.picture import Metadata, Picture

_START: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES: Final = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}

_UP: Final = 2
"""The filter: what differs from the row above. A smooth picture with noise, 3000x2000 RGB,
shrinks to 71 % with it, to 72 with Sub and 73 with Paeth, which takes 1 s longer."""

LEVEL: Final = 3
"""Of zlib: the low bytes are noise that a higher one takes longer to say."""

_INCHES_A_METRE: Final = 39.3701


def chunks(data: mmap) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's kind, and place and length of its data, up to the end of the picture."""
    place, kind = len(_START), b""
    while kind != b"IEND" and len(head := data[place : place + 8]) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, place + 8, length
        place += 12 + length


def write_deep(path: Path, picture: Picture, info: PngInfo) -> None:
    """Write (H, W, 3) uint16 pixels with alpha and metadata; `info` holds chunks before them."""
    height, width = picture.pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[picture.mode], 0, 0, 0)
    with path.open("wb") as out:
        out.write(_START)
        _chunk(out, b"IHDR", header)
        _write_metadata(out, picture.metadata, info)
        _write_pixels(out, picture)
        _chunk(out, b"IEND", b"")


def _write_metadata(out: BinaryIO, found: Metadata, info: PngInfo) -> None:
    if found.icc_profile is not None:
        _chunk(out, b"iCCP", b"ICC Profile\0\0" + zlib.compress(found.icc_profile))
    for kind, data, *_ in info.chunks:
        _chunk(out, kind, data)
    if found.dpi is not None:
        x, y = (round(value * _INCHES_A_METRE) for value in found.dpi)
        _chunk(out, b"pHYs", struct.pack(">IIB", x, y, 1))
    if found.exif is not None:
        _chunk(out, b"eXIf", found.exif)


def _write_pixels(out: BinaryIO, picture: Picture) -> None:
    packer = zlib.compressobj(LEVEL)
    above: np.ndarray | int = 0
    for strip in picture.strips():
        rows = strip.astype(">u2").reshape(len(strip), -1).view(np.uint8)
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        filtered[0, 1:] = rows[0] - np.uint8(above)
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        above = rows[-1]
        if data := packer.compress(filtered.data):
            _chunk(out, b"IDAT", data)
    _chunk(out, b"IDAT", packer.flush())


def _chunk(out: BinaryIO, kind: bytes, data: bytes) -> None:
    out.write(struct.pack(">I", len(data)) + kind)
    out.write(data)
    out.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
