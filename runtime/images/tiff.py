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
from PIL import TiffTags
from PIL.ExifTags import IFD, Base

from lorair.runtime.images.exif import BYTE, LONG, RATIONAL, SHORT, UNDEFINED, Block, load
from lorair.runtime.images.picture import STRIP_ROWS, Metadata, Picture
from lorair.runtime.images.png import LEVEL

_EMPTY: Final = b"II*\0\0\0\0\0"
_DEFLATE, _HORIZONTAL, _STRAIGHT_ALPHA, _INCH = 8, 2, 2, 2
_BLACK_IS_ZERO, _RGB = 1, 2
_RESOLUTION: Final = (Base.XResolution, Base.YResolution, Base.ResolutionUnit)
_DIRECTORIES: Final = (IFD.Exif, IFD.GPSInfo, IFD.Interop)

DESCRIPTIVE: Final = frozenset(
    {
        Base.DocumentName, Base.ImageDescription, Base.Make, Base.Model, Base.PageName,
        Base.Software, Base.DateTime, Base.Artist, Base.HostComputer, Base.WhitePoint,
        Base.PrimaryChromaticities, Base.Rating, Base.RatingPercent, Base.Copyright,
        Base.IPTCNAA, Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords,
        Base.XPSubject, Base.CameraSerialNumber,
        *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),  # GeoTIFF's and GDAL's
    }
)  # fmt: skip
"""What a TIFF's first directory says about the picture, not about how it is stored."""

_STORAGE: Final = frozenset(
    {
        *range(Base.NewSubfileType, Base.DocumentName),
        *range(Base.StripOffsets, Base.PageName),
        *range(Base.FreeOffsets, Base.PageNumber + 1),
        Base.Predictor,
        *range(Base.ColorMap, Base.JPEGTables + 1),
        *range(Base.JPEGProc, Base.ReferenceBlackWhite + 1),
        *(Base.XMLPacket, Base.InterColorProfile, IFD.Exif, IFD.GPSInfo),
    }
)
"""What is said otherwise in the written file, or is no longer true there."""

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
        fields[Base.StripOffsets] = _numbers(order, LONG, offsets)
        fields[Base.StripByteCounts] = _numbers(order, LONG, sizes)
        _write_first(out, order, fields)


def read_exif(path: Path) -> tuple[bytes | None, list[str]]:
    """Return what a TIFF file says about its picture as an EXIF block, and what it leaves out.

    Raises:
        ValueError, KeyError, struct.error: it is damaged.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        source, out = Block(data), io.BytesIO()
        out.write(_EMPTY if source.order == "<" else b"MM\0*\0\0\0\0")
        fields = _copied(source, source.first, DESCRIPTIVE)
        tags = {entry.tag for entry in source.entries(source.first)}
        dropped = [_name(tag) for tag in sorted(tags - DESCRIPTIVE - _STORAGE)]
        for tag, place in _pointers(source, source.first, (IFD.Exif, IFD.GPSInfo)).items():
            inner = _copied(source, place, range(2**16))
            for deeper, there in _pointers(source, place, (IFD.Interop,)).items():
                copy = _copied(source, there, range(2**16))
                inner[deeper] = _directory(out, source.order, copy)
            fields[tag] = _directory(out, source.order, inner)
        if not fields:
            return None, dropped
        _write_first(out, source.order, fields)
        return out.getvalue(), dropped


def _name(tag: int) -> str:
    name = TiffTags.lookup(tag).name
    return str(tag) if name == "unknown" else name


def _copied(source: Block, directory: int, tags: Container[int]) -> dict[int, _Field]:
    return {
        entry.tag: (entry.type, entry.count, source.raw(entry))
        for entry in source.entries(directory)
        if entry.tag in tags and entry.tag not in _DIRECTORIES
    }


def _pointers(source: Block, directory: int, tags: Container[int]) -> dict[int, int]:
    """Where the directories are that a directory names."""
    return {e.tag: source.pointer(e) for e in source.entries(directory) if e.tag in tags}


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
    shorts = {
        int(Base.BitsPerSample): [8 * picture.pixels.dtype.itemsize] * channels,
        Base.Compression: [_DEFLATE],
        Base.PhotometricInterpretation: [_BLACK_IS_ZERO if picture.is_grey else _RGB],
        Base.Orientation: [1],
        Base.SamplesPerPixel: [channels],
        Base.PlanarConfiguration: [1],
        Base.Predictor: [_HORIZONTAL],
    }
    longs = {Base.ImageWidth: width, Base.ImageLength: height, Base.RowsPerStrip: STRIP_ROWS}
    fields = {tag: _numbers(order, SHORT, values) for tag, values in shorts.items()}
    fields |= {tag: _numbers(order, LONG, [value]) for tag, value in longs.items()}
    if picture.alpha is not None:
        fields[Base.ExtraSamples] = _numbers(order, SHORT, [_STRAIGHT_ALPHA])
    return fields


def _metadata_fields(found: Metadata, order: str) -> dict[int, _Field]:
    fields: dict[int, _Field] = {}
    if found.dpi is not None:
        for tag, value in zip(_RESOLUTION, found.dpi, strict=False):
            ratio = Fraction(value).limit_denominator(1000)
            fields[tag] = (RATIONAL, 1, struct.pack(order + "II", *ratio.as_integer_ratio()))
        fields[_RESOLUTION[2]] = _numbers(order, SHORT, [_INCH])
    if found.xmp is not None:
        fields[Base.XMLPacket] = (BYTE, len(found.xmp), found.xmp)
    if found.icc_profile is not None:
        fields[Base.InterColorProfile] = (UNDEFINED, len(found.icc_profile), found.icc_profile)
    return fields


def _block_fields(block: Block) -> dict[int, _Field]:
    """The EXIF block's, which may point into it."""
    if block.first == 0:
        return {}
    return {
        entry.tag: (entry.type, entry.count, bytes(block.data[entry.place + 8 : entry.place + 12]))
        for entry in block.entries(block.first)
        if entry.tag in (*DESCRIPTIVE, *_RESOLUTION, IFD.Exif, IFD.GPSInfo)
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


def _write_first(out: BinaryIO, order: str, fields: dict[int, _Field]) -> None:
    first = _write_directory(out, order, fields)
    out.seek(4)
    out.write(struct.pack(order + "I", first))


def _align(out: BinaryIO) -> int:
    """Where the next even byte is, on which everything in a TIFF begins."""
    if out.tell() % 2:
        out.write(b"\0")
    return out.tell()
