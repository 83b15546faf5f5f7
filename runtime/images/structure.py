"""The structure of a file, checked before Pillow reads it.

Pillow follows every chunk, field and block that a file holds, in loops in Python, some of
them quadratic, and makes room for whatever a header claims. A file is refused here if it would
cost far more than pictures of its size do; no program writes such files on purpose.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import ceil
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from PIL.ExifTags import IFD, Base

from lorair.runtime.images import png
from lorair.runtime.images.exif import TEXT_TYPES, Block, Field
from lorair.runtime.images.picture import check_size

_PARTS: Final = 50_000
"""Chunks or blocks that Pillow follows in half a second, whatever the file's size."""

_INFLATED: Final = 50
"""Compressed texts and profiles in a PNG: each may hold 1 MB."""

_SEGMENTS, _EXIF_SEGMENTS, _SCANS, _SKIPPED = 10_000, 16, 32, 2**16
"""In a JPEG: segments, those of EXIF (Pillow joins them in quadratic time), scans (each goes
through all pixels; encoders make 10), and bytes between the segments."""

_NUMBERS: Final = 2**18
"""In the fields of a TIFF: a transfer function has up to 3 times 2**16."""

_TILE: Final = 4096 * 4096
_STRIPS: Final = 100_000
"""Pixels of a tile that may be larger than the picture, and strips or tiles in a picture."""

_LIST_BYTES, _BLOCKS, _FRAMES = 2**16, 10, 2**19
"""In an AVIF: bytes of a list of items, which libavif reads in quadratic time, EXIF blocks, and
frames, of which each takes 100 bytes of memory."""

_PPM_HEADER, _PPM_TEXT, _PPM_COMMENTS = 2**16, 2**24, 1000

Size = tuple[int, int]


def check(file: Path, max_pixels: int) -> None:
    """Check a file of any kind.

    Raises:
        ValueError, struct.error: it would cost too much to read, or is damaged.
        PictureError: it claims more pixels than the limit.
        OSError: it cannot be read.
    """
    if file.stat().st_size == 0:
        return  # which cannot be mapped
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        size = None
        for pattern, checker in _CHECKERS:
            if pattern.match(data):
                size = checker(data)
    if size is not None:
        check_size(*size, max_pixels, str(file))


def _at_most(limit: int, found: int, what: str) -> None:
    if found > limit:
        raise ValueError(f"{found} {what}, more than {limit}")


def _check_png(data: mmap) -> None:
    limit = _PARTS + len(data) // 1024
    kinds = Counter(kind for kind, *_ in islice(png.chunks(data), limit + 1))
    _at_most(limit, kinds.total(), "chunks")
    inflated = kinds[b"iCCP"] + kinds[b"zTXt"] + kinds[b"iTXt"]
    _at_most(_INFLATED, inflated, "compressed texts and profiles")


_JPEG_SOI, _JPEG_EOI, _JPEG_SOS, _JPEG_APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# Neither stuffing nor restarts, which are part of a scan.
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_JPEG_BARE = {_JPEG_SOI, _JPEG_EOI, 0x01, 0xC8, *range(0xF0, 0xFE)}


def _check_jpeg(data: mmap) -> None:
    place = 2
    kinds: Counter[int] = Counter()
    skipped = exif = 0
    while found := _JPEG_MARKER.search(data, place):
        marker = found[1][0]
        kinds[marker] += 1
        if kinds[_JPEG_SOS] == 0:
            skipped += found.end() - 2 - place
        elif marker == _JPEG_EOI:
            return
        place = found.end()
        exif += marker == _JPEG_APP1 and data[place + 2 : place + 6] == b"Exif"
        if marker not in _JPEG_BARE:
            place += int.from_bytes(data[place : place + 2], "big")
        _at_most(_SKIPPED, skipped, "bytes between segments")
        _at_most(_EXIF_SEGMENTS, exif, "EXIF segments")
        _at_most(_SCANS, kinds[_JPEG_SOS], "scans")
        _at_most(_SEGMENTS, kinds.total(), "segments")


def _check_gif(data: mmap) -> Size:
    """Return the size with the first frame, which may be larger than the screen's.

    Blocks are counted up to the second frame: so far Pillow reads.
    """
    width, height = struct.unpack_from("<HH", data, 6)
    frames: list[tuple[int, ...]] = []
    with suppress(IndexError, struct.error):  # it ends early; what was found holds
        for frame in islice(_gif_frames(data), 2):
            frames.append(frame)
    for x, y, w, h in frames[:1]:
        width, height = max(width, x + w), max(height, y + h)
    return width, height


def _gif_frames(data: mmap) -> Iterator[tuple[int, ...]]:
    """Left, top, width and height of each frame; the blocks are taken as Pillow takes them."""
    place, blocks, is_first = 13 + _palette(data[10]), 0, True

    def step(size: int) -> int:
        nonlocal place, blocks
        place += 1 + size
        blocks += 1
        _at_most(_PARTS + len(data) // 64, blocks, "blocks")
        return size

    while (kind := data[place]) != ord(";"):
        step(0)
        if kind == ord(","):
            *frame, flags = struct.unpack_from("<HHHHB", data, place)
            yield tuple(frame)
            is_first = False
            step(9 + _palette(flags))
        elif kind == ord("!"):
            name, start = data[place], place + 2
            step(0)
            size = step(data[place])
            if name == 0xFE and size == 0:  # an empty comment; other kinds go on behind it
                continue
            if is_first and name == 0xFF and data[start : start + size].startswith(b"NETSCAPE2.0"):
                step(data[place])
        else:
            continue
        while step(data[place]):
            pass


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _check_webp(data: mmap) -> Size | None:
    """Return the size of the canvas, for which libwebp makes room."""
    if data[12:16] != b"VP8X":
        return None
    width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    return width, height


_TIFF_LISTS = (Base.StripOffsets, Base.StripByteCounts, Base.TileOffsets, Base.TileByteCounts)


def _check_tiff(data: mmap) -> None:
    """Check the first directory, as Pillow and libtiff read it, and those of EXIF."""
    block = Block(data)
    _check_numbers(block)
    fields: dict[int, Field] = {}
    for entry in block.entries(block.first):
        if entry.tag in fields:
            raise ValueError(f"field {entry.tag} twice")
        fields[entry.tag] = entry

    def value(tag: int, default: int) -> int:
        return block.value(fields[tag]) if tag in fields else default

    def check_parts(tag: int, width: int, height: int) -> None:
        if tag not in fields:
            return
        if 0 in (columns, rows, width, height):
            raise ValueError("strips or tiles without pixels")
        wanted = ceil(columns / width) * ceil(rows / height) * planes
        if (width, height) != (columns, rows):  # of those that cover the picture Pillow takes one
            _at_most(wanted, fields[tag].count, "strips or tiles")
        _at_most(_STRIPS, fields[tag].count, "strips or tiles")

    columns, rows = value(Base.ImageWidth, 0), value(Base.ImageLength, 0)
    planes = (
        max(1, value(Base.SamplesPerPixel, 1)) if value(Base.PlanarConfiguration, 1) == 2 else 1
    )
    check_parts(Base.StripOffsets, columns, value(Base.RowsPerStrip, rows))
    tile = value(Base.TileWidth, columns), value(Base.TileLength, rows)
    check_parts(Base.TileOffsets, *tile)
    _at_most(max(_TILE, columns * rows), tile[0] * tile[1], "pixels in a tile")


def _check_numbers(block: Block) -> None:
    """Check how many numbers Pillow would make of the fields, those of EXIF as well."""
    numbers, directories = 0, [block.first]
    for directory in directories:
        with suppress(ValueError, struct.error):  # damaged EXIF is no reason to refuse a picture
            for entry in block.entries(directory):
                if entry.tag not in _TIFF_LISTS and entry.type not in TEXT_TYPES:
                    numbers += entry.count
                if entry.tag in (IFD.Exif, IFD.GPSInfo) and len(directories) < 5:
                    directories.append(block.pointer(entry))
    _at_most(_NUMBERS, numbers, "numbers in fields")


_AVIF_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"meta", b"iprp")


def _check_avif(data: mmap) -> None:
    boxes = list(_boxes(data, 0, len(data)))
    for kind, start, end in boxes:
        _at_most(_PARTS, len(boxes), "boxes")
        if kind in _AVIF_CONTAINERS:
            boxes.extend(_boxes(data, start + 4 * (kind == b"meta"), end))
        elif kind in (b"iinf", b"iloc", b"ipma", b"iref", b"grpl"):
            _at_most(_LIST_BYTES, end - start, "bytes of items")
        elif kind == b"stsz":
            _at_most(_FRAMES, int.from_bytes(data[start + 8 : start + 12], "big"), "frames")
    headers = list(islice(re.finditer(rb"II\*\0|MM\0\*", data), _BLOCKS + 1))
    _at_most(_BLOCKS, len(headers), "EXIF blocks")
    for header in headers:
        _check_numbers(Block(bytearray(data[header.start() :])))


def _boxes(data: mmap, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of the boxes in a place."""
    for _ in range(_PARTS + 1):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        start = place + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), place + 16
        if place + 8 > end or 0 < size < 8:
            return
        place = min(place + size, end) if size else end
        yield kind, start, place


def _check_ppm(data: mmap) -> None:
    plain = data[1:2] in (b"1", b"2", b"3")
    head = re.sub(rb"#[^\r\n]*", b"", data[:_PPM_HEADER]).split(None, 4)
    if len(data) > _PPM_HEADER and len(head) < 4:
        raise ValueError("a header without end")
    if plain:
        _at_most(_PPM_TEXT, len(data), "bytes of text")
        _at_most(_PPM_COMMENTS, data[:].count(b"#"), "comments")


_CHECKERS: Final = tuple(
    (re.compile(start, re.DOTALL), checker)
    for start, checker in (
        (rb"\x89PNG", _check_png),
        (rb"\xff\xd8\xff", _check_jpeg),
        (rb"GIF8", _check_gif),
        (rb"RIFF....WEBP", _check_webp),
        (rb"II|MM", _check_tiff),
        (rb"....ftyp", _check_avif),
        (rb"P\d", _check_ppm),
    )
)
