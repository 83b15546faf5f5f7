"""TIFF of 8 and 16 bits, compressed, with all metadata.

An EXIF block is a TIFF without pixels. The file begins with it, byte for byte, so that every
offset in it stays true; the pixels follow, and a new first directory that takes the block's
fields and adds the picture's. Pillow alone writes neither 16-bit colour nor, with
compression, EXIF.
"""

import io
import struct
import zlib
from collections.abc import Container, Sequence
from dataclasses import replace
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from lorair.runtime.images.exif import (
    DESCRIPTIVE,
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    LONG,
    ORIENTATION,
    SHORT,
    Block,
    load,
)
from lorair.runtime.images.picture import STRIP_ROWS, Metadata, Picture
from lorair.runtime.images.png import LEVEL

_BYTE, _RATIONAL, _UNDEFINED = 1, 5, 7
_BIG: Final = (b"+\0", b"\0+")
_EMPTY: Final = b"II*\0\0\0\0\0"
_DEFLATE, _HORIZONTAL, _STRAIGHT_ALPHA, _INCH = 8, 2, 2, 2
_BLACK_IS_ZERO, _RGB = 1, 2
_RESOLUTION: Final = (282, 283, 296)

_Field = tuple[int, int, bytes]
"""Type, count, and the values' bytes in the file's order."""


def write(path: Path, picture: Picture) -> None:
    """Write a picture.

    Raises:
        struct.error: more than the 4 GiB that TIFF's offsets can reach.
    """
    if picture.mode == "LA" and picture.pixels.dtype == np.uint16:
        picture = replace(picture, is_grey=False)  # Pillow and others read no such file
    block = load(picture.metadata.exif or _EMPTY)
    order = block.order
    with path.open("wb") as out:
        out.write(block.data)
        offsets, sizes = _write_strips(out, picture, order)
        fields = _block_fields(block) | _metadata_fields(picture.metadata, order)
        fields |= _picture_fields(picture, order)
        fields[273] = _numbers(order, LONG, offsets)
        fields[279] = _numbers(order, LONG, sizes)
        first = _write_directory(out, order, fields)
        out.seek(4)
        out.write(struct.pack(order + "I", first))


def read_exif(path: Path) -> bytes | None:
    """What a TIFF file says about its picture as an EXIF block, or None.

    Raises:
        ValueError, KeyError, struct.error: it is damaged.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if data[2:4] in _BIG:
            return None
        source, out = Block(data), io.BytesIO()
        out.write(source.data[:8])
        fields = _copied(source, source.first, DESCRIPTIVE)
        pointers = _pointers(source, source.first, (EXIF_IFD, GPS_IFD))
        for tag, place in pointers.items():
            inner = _copied(source, place, range(2**16))
            for deeper, there in _pointers(source, place, (INTEROP_IFD,)).items():
                copy = _copied(source, there, range(2**16))
                inner[deeper] = _directory(out, source.order, copy)
            fields[tag] = _directory(out, source.order, inner)
        if not fields:
            return None
        first = _write_directory(out, source.order, fields)
        out.seek(4)
        out.write(struct.pack(source.order + "I", first))
        return out.getvalue()


def _copied(source: Block, directory: int, tags: Container[int]) -> dict[int, _Field]:
    return {
        entry.tag: (entry.type, entry.count, source.raw(entry))
        for entry in source.entries(directory)
        if entry.tag in tags and entry.tag not in (EXIF_IFD, GPS_IFD, INTEROP_IFD)
    }


def _pointers(source: Block, directory: int, tags: Container[int]) -> dict[int, int]:
    """Where the directories are that a directory names."""
    found = {e.tag: e for e in source.entries(directory) if e.tag in tags}
    return {tag: source.number("I", entry.place + 8) for tag, entry in found.items()}


def _directory(out: BinaryIO, order: str, fields: dict[int, _Field]) -> _Field:
    """A field that names a directory, which is written."""
    return _numbers(order, LONG, [_write_directory(out, order, fields)])


def _write_strips(out: BinaryIO, picture: Picture, order: str) -> tuple[list[int], list[int]]:
    """Offsets and sizes."""
    offsets, sizes = [], []
    for strip in picture.strips():
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]
        stored = differences.astype(differences.dtype.newbyteorder(order))  # type: ignore[arg-type]
        data = zlib.compress(stored.data, LEVEL)
        offsets.append(_align(out))
        sizes.append(out.write(data))
    return offsets, sizes


def _picture_fields(picture: Picture, order: str) -> dict[int, _Field]:
    height, width = picture.pixels.shape[:2]
    channels = len(picture.mode)
    bits = [8 * picture.pixels.dtype.itemsize] * channels
    fields = {
        256: _numbers(order, LONG, [width]),
        257: _numbers(order, LONG, [height]),
        258: _numbers(order, SHORT, bits),
        259: _numbers(order, SHORT, [_DEFLATE]),
        262: _numbers(order, SHORT, [_BLACK_IS_ZERO if picture.is_grey else _RGB]),
        ORIENTATION: _numbers(order, SHORT, [1]),
        277: _numbers(order, SHORT, [channels]),
        278: _numbers(order, LONG, [STRIP_ROWS]),
        284: _numbers(order, SHORT, [1]),
        317: _numbers(order, SHORT, [_HORIZONTAL]),
    }
    if picture.alpha is not None:
        fields[338] = _numbers(order, SHORT, [_STRAIGHT_ALPHA])
    return fields


def _metadata_fields(found: Metadata, order: str) -> dict[int, _Field]:
    fields = {}
    if found.dpi is not None:
        for tag, value in zip(_RESOLUTION, found.dpi, strict=False):
            ratio = Fraction(value).limit_denominator(1000)
            fields[tag] = (_RATIONAL, 1, struct.pack(order + "II", *ratio.as_integer_ratio()))
        fields[_RESOLUTION[2]] = _numbers(order, SHORT, [_INCH])
    if found.xmp is not None:
        fields[700] = (_BYTE, len(found.xmp), found.xmp)
    if found.icc_profile is not None:
        fields[34675] = (_UNDEFINED, len(found.icc_profile), found.icc_profile)
    return fields


def _block_fields(block: Block) -> dict[int, _Field]:
    """The EXIF block's, which may point into it."""
    if block.first == 0:
        return {}
    return {
        entry.tag: (entry.type, entry.count, bytes(block.data[entry.place + 8 : entry.place + 12]))
        for entry in block.entries(block.first)
        if entry.tag in (*DESCRIPTIVE, *_RESOLUTION, EXIF_IFD, GPS_IFD)
    }


def _numbers(order: str, kind: int, values: Sequence[int]) -> _Field:
    letter = "H" if kind == SHORT else "I"
    return kind, len(values), struct.pack(f"{order}{len(values)}{letter}", *values)


def _write_directory(out: BinaryIO, order: str, fields: dict[int, _Field]) -> int:
    """Values that do not fit into their field, then the directory; where it begins."""
    entries = []
    for tag, (kind, count, data) in sorted(fields.items()):
        inline = data.ljust(4, b"\0")
        if len(data) > 4:
            inline = struct.pack(order + "I", _align(out))
            out.write(data)
        entries.append(struct.pack(order + "HHI", tag, kind, count) + inline)
    first = _align(out)
    out.write(struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4))
    return first


def _align(out: BinaryIO) -> int:
    """Where the next even byte is, on which everything in a TIFF begins."""
    if out.tell() % 2:
        out.write(b"\0")
    return out.tell()
