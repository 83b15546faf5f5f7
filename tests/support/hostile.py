"""Small pictures made to hurt whoever reads them: `FILES` makes each by its name.

Run as a script, it reads each in a process of its own and prints what that cost:
`python tests/support/hostile.py [NAME ...]`.
"""

import io
import itertools
import json
import os
import resource
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from picture_files import png_chunk
from PIL import Image

FILES: dict[str, Callable[[], bytes]] = {}

_SAMPLES = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
_MANY = 300_000
_PNG_START = b"\x89PNG\r\n\x1a\n"
_IEND = png_chunk(b"IEND", b"")


def _add(ending: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Take the function's name, and this ending, for the file's."""

    def added(make: Callable[[], bytes]) -> Callable[[], bytes]:
        FILES[f"{make.__name__.removeprefix('_')}.{ending}"] = make
        return make

    return added


def saved(kind: str, **options: object) -> bytes:
    """A harmless picture of 20 by 12 pixels, as Pillow writes it."""
    out = io.BytesIO()
    Image.fromarray(_SAMPLES).save(out, kind, **options)
    return out.getvalue()


def bomb(size: int, value: bytes = b"\0") -> bytes:
    """Bytes that inflate to so many."""
    return zlib.compress(value * size, 9)


# PNG: chunks without end, texts and profiles that inflate, sizes that are claimed.


def _ihdr(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def _png(*before: bytes, size: tuple[int, int] = (20, 12), idat: bytes | None = None) -> bytes:
    rows = zlib.compress(bytes((3 * size[0] + 1) * size[1])) if idat is None else idat
    pixels = png_chunk(b"IDAT", rows)
    return _PNG_START + _ihdr(*size) + b"".join(before) + pixels + _IEND


@_add("png")
def _inflates_texts() -> bytes:
    text = bomb(1_000_000)
    return _png(*(png_chunk(b"zTXt", b"%d\0\0" % i + text) for i in range(2000)))


@_add("png")
def _inflates_wide_texts() -> bytes:
    text = zlib.compress("\U0001f600".encode() + b"a" * 999_000)
    return _png(*(png_chunk(b"iTXt", b"%d\0\1\0\0\0" % i + text) for i in range(50)))


@_add("png")
def _animation_of_many_frames() -> bytes:
    out = [png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))]
    control = struct.pack(">IIIIHHBB", 20, 12, 0, 0, 1, 1, 0, 0)
    frame = zlib.compress(bytes(61 * 12))
    first = png_chunk(b"fcTL", struct.pack(">I", 0) + control)
    later = (
        png_chunk(b"fcTL", struct.pack(">I", 2 * i + 1) + control)
        + png_chunk(b"fdAT", struct.pack(">I", 2 * i + 2) + frame)
        for i in range(50_000)
    )
    return _png(*out, first)[:-12] + b"".join(later) + _IEND


@_add("png")
def _hex_exif() -> bytes:
    block = _same_bytes(4000, 400_000)
    text = b"\nexif\n%8d\n" % len(block) + block.hex().encode()
    return _png(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


FILES |= {
    "claims_4_gigapixels.png": lambda: _png(size=(65535, 65535), idat=bomb(1000)),
    "claims_190_megapixels_and_ends.png": lambda: _png(size=(19000, 10000), idat=bomb(1000)),
    "has_no_width.png": lambda: _png(size=(0, 12)),
    "has_text_chunks.png": lambda: _png(png_chunk(b"tEXt", b"a\0") * _MANY),
    "has_text_chunks_at_the_end.png": lambda: (
        _png()[:-12] + png_chunk(b"tEXt", b"a\0") * _MANY + _IEND
    ),
    "has_private_chunks.png": lambda: _png(png_chunk(b"prVt", b"") * _MANY),
    "has_empty_pixel_chunks.png": lambda: (
        _PNG_START + _ihdr(20, 12) + png_chunk(b"IDAT", b"") * _MANY + _png()[33:]
    ),
    "has_pixels_in_single_bytes.png": lambda: (
        _PNG_START
        + _ihdr(100, 1000)
        + b"".join(
            png_chunk(b"IDAT", bytes([byte]))
            for byte in zlib.compress(np.random.default_rng(0).bytes(301 * 1000), 0)
        )
        + _IEND
    ),
    "inflates_pixels_beyond_its_size.png": lambda: _png(idat=bomb(100_000_000)),
    "inflates_a_profile.png": lambda: _png(png_chunk(b"iCCP", b"a\0\0" + bomb(50_000_000))),
    "inflates_many_profiles.png": lambda: _png(
        png_chunk(b"iCCP", b"a\0\0" + bomb(1_000_000)) * 2000
    ),
    "inflates_damaged_texts.png": lambda: _png(
        png_chunk(b"zTXt", b"a\0\0" + bomb(1_000_000)[:-8] + bytes(8)) * 2000
    ),
    "chunk_of_2_gigabytes.png": lambda: (
        _PNG_START + _ihdr(20, 12) + struct.pack(">I4s", 2**31 - 1, b"prVt") + bytes(100)
    ),
    "exif_of_the_same_bytes.png": lambda: _png(png_chunk(b"eXIf", _same_bytes(4000, 4_000_000))),
    "exif_of_ratios.png": lambda: _png(
        png_chunk(
            b"eXIf",
            _tiff([(274, 3, 1, 1), (33434, 5, 500_000, 8)], struct.pack("<I", 1) * 1_000_000),
        )
    ),
    "exif_in_circles.png": lambda: _png(
        png_chunk(
            b"eXIf", _tiff([(274, 3, 1, 1), (34665, 4, 1, 8), (34853, 4, 1, 8)], following=8, at=8)
        )
    ),
    "exif_out_of_the_file.png": lambda: _png(
        png_chunk(b"eXIf", _tiff([(271, 2, 2**31, 2**31), (34665, 4, 1, 2**32 - 1)]))
    ),
    "xmp_of_spaces.png": lambda: _png(
        png_chunk(
            b"iTXt", (b"XML:com.adobe.xmp" + bytes(5) + (b"tiff:Orientation" + b" " * 1000) * 4000)
        )
    ),
}


# TIFF: fields that name the same bytes, pages, strips and tiles.


def _tiff(
    entries: Iterable[tuple[int, int, int, int]],
    body: bytes = b"",
    following: int = 0,
    at: int | None = None,
    big: bool = False,
) -> bytes:
    """The header, the body (at 8, or 16 in a BigTIFF), the directory of (tag, type, count, value).

    at: where the header says that the directory is, instead of behind the body.
    """
    start = 16 if big else 8
    body += bytes(len(body) % 2)
    first = start + len(body) if at is None else at
    entries = sorted(entries)
    if big:
        head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, first)
        packed = b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
        return head + body + struct.pack("<Q", len(entries)) + packed + struct.pack("<Q", following)
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHI", b"II", 42, first)
    return head + body + struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def _same_bytes(fields: int, size: int) -> bytes:
    return _tiff([(40000 + i, 7, size, 8) for i in range(fields)], bytes(size))


def _grey(
    width: int, height: int, **fields: tuple[int, int, int]
) -> list[tuple[int, int, int, int]]:
    """A grey picture's fields, uncompressed in one strip at 8; `t273=(type, count, value)`."""
    wanted = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1),
        262: (3, 1, 1), 273: (4, 1, 8), 278: (4, 1, height), 279: (4, 1, width * height),
    }  # fmt: skip
    wanted |= {int(name[1:]): field for name, field in fields.items()}
    return [(tag, *field) for tag, field in wanted.items() if field[1]]


_PIXELS = bytes(20 * 12)


def _with_exif(exif: list[tuple[int, int, int, int]], tag: int, body: bytes) -> bytes:
    """A picture whose field `tag` names a directory behind the body."""
    place = 8 + 240 + len(body)
    inner = struct.pack("<H", len(exif)) + b"".join(struct.pack("<HHII", *e) for e in exif)
    return _tiff(_grey(20, 12, **{f"t{tag}": (4, 1, place)}), _PIXELS + body + inner + bytes(4))


def _pages(count: int) -> bytes:
    one, size = _tiff(_grey(20, 12), _PIXELS), 6 + 12 * 8
    start = len(one) - size
    parts = [one[:-4]]
    for i in range(1, count):
        place = start + i * size
        parts.append(struct.pack("<I", place) + one[start:-4])
    return b"".join(parts) + bytes(4)


def _tiled(
    width: int, height: int, count: int = 1, at: int = 8, lengths: tuple[int, int] = (1, 9)
) -> dict[str, tuple[int, int, int]]:
    """Fields for `_grey` that put tiles in the strip's place."""
    strips = dict.fromkeys(("t273", "t278", "t279"), (4, 0, 0))
    sizes = {"t322": (4, 1, width), "t323": (4, 1, height)}
    return strips | sizes | {"t324": (4, count, at), "t325": (4, *lengths)}


def _strips_again_and_again(**size: tuple[int, int, int]) -> bytes:
    pixels = bytes(1000 * 1000)
    fields = _grey(1000, 2000, t273=(4, 20_000, 8 + len(pixels)), t278=(4, 1, 1000), **size)
    return _tiff(fields, pixels + struct.pack("<I", 8) * 10_000 + struct.pack("<I", 9) * 10_000)


@_add("tif")
def _strips_of_one_row() -> bytes:
    rows = 1_000_000
    offsets = struct.pack(f"<{rows}I", *(8 + i % 4 for i in range(rows)))
    return _tiff(_grey(4, rows, t273=(4, rows, 24), t278=(4, 1, 1)), bytes(16) + offsets)


FILES |= {
    "exif_fields_of_the_same_bytes.tif": lambda: _with_exif(
        [(40000 + i, 7, 4_000_000, 248) for i in range(4000)], 34665, bytes(4_000_000)
    ),
    "exif_fields_of_ratios.tif": lambda: _with_exif(
        [(33434, 5, 500_000, 248)], 34665, struct.pack("<I", 1) * 1_000_000
    ),
    "fields_of_the_same_bytes.tif": lambda: _tiff(
        _grey(20, 12) + [(40000 + i, 7, 4_000_000, 248) for i in range(4000)],
        _PIXELS + bytes(4_000_000),
    ),
    "descriptions_of_the_same_bytes.tif": lambda: _tiff(
        _grey(20, 12) + ([(270, 2, 4_000_000, 248)] * 4000), _PIXELS + bytes(4_000_000)
    ),
    "resolution_of_many_ratios.tif": lambda: _tiff(
        _grey(20, 12, **{"t282": (5, 500_000, 248), "t283": (5, 500_000, 248)}),
        (_PIXELS + struct.pack("<I", 1) * 1_000_000),
    ),
    "big_resolution_of_many_ratios.tif": lambda: _tiff(
        _grey(20, 12, t282=(5, 500_000, 256), t283=(5, 500_000, 256), t273=(4, 1, 16)),
        (_PIXELS + struct.pack("<I", 1) * 1_000_000),
        big=True,
    ),
    "bits_of_many_samples.tif": lambda: _tiff(
        _grey(20, 12, t258=(3, 2_000_000, 248)), _PIXELS + bytes(4_000_000)
    ),
    "pages_without_end.tif": lambda: _pages(60_000),
    "page_after_itself.tif": lambda: _tiff(_grey(20, 12), _PIXELS)[:-4] + struct.pack("<I", 248),
    "tile_larger_than_the_picture.tif": lambda: _tiff(
        _grey(20, 12, t259=(3, 1, 8), **_tiled(29_856, 29_856)), bomb(9)
    ),
    "big_tile_larger_than_the_picture.tif": lambda: _tiff(
        _grey(20, 12, t259=(3, 1, 8), **_tiled(29_856, 29_856, at=16)), bomb(9), big=True
    ),
    "wide_tile_uncompressed.tif": lambda: _tiff(
        _grey(20, 12, **_tiled(2**31 - 1, 16)), bytes(8_000_000)
    ),
    "tiles_of_one_pixel.tif": lambda: _tiff(
        _grey(1000, 1000, **_tiled(1, 1, 1_000_000, lengths=(1_000_000, 8))),
        struct.pack("<I", 8) * 1_000_000,
    ),
    "tiles_that_cover_the_picture_again_and_again.tif": lambda: _tiff(
        _grey(1000, 1000, **_tiled(1008, 1008, 20_000, 8 + 1008 * 1008)),
        bytes(1008 * 1008) + struct.pack("<2I", 8, 9) * 10_000,
    ),
    "strips_again_and_again.tif": _strips_again_and_again,
    "strips_of_a_size_of_another_type.tif": lambda: _strips_again_and_again(
        t256=(9, 1, 1000), t257=(9, 1, 2000)
    ),
    "strip_larger_than_the_picture.tif": lambda: _tiff(
        _grey(20, 12, t278=(4, 1, 2**31), t259=(3, 1, 8)), bomb(240)
    ),
    "strip_wider_than_the_file.tif": lambda: _tiff(_grey(190_000_000, 1, t259=(3, 1, 8)), bomb(9)),
    "strip_out_of_the_file.tif": lambda: _tiff(_grey(20, 12, t273=(4, 1, 2**31))),
    "counts_out_of_the_file.tif": lambda: _tiff(
        _grey(20, 12, t273=(4, 2**30, 8), t279=(4, 2**30, 8)), _PIXELS
    ),
    "has_no_height.tif": lambda: _tiff(_grey(20, 0), _PIXELS),
    "claims_190_megapixels_and_ends_tiff.tif": lambda: _tiff(
        _grey(19000, 10000, t259=(3, 1, 8)), bomb(100)
    ),
    "directory_in_itself.tif": lambda: _tiff(
        _grey(20, 12, t34665=(4, 1, 248), t34853=(4, 1, 248)), _PIXELS
    ),
    "samples_65535.tif": lambda: _tiff(_grey(20, 12, t277=(3, 1, 65535)), _PIXELS),
    "profile_of_the_whole_file.tif": lambda: _tiff(
        _grey(20, 12, t34675=(7, 4_000_000, 8), t700=(1, 4_000_000, 8)), bytes(4_000_000)
    ),
}


# JPEG: segments, padding and scans without end.

_SOF, _SOS = 0xC0, 0xDA


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _jpeg(*before: bytes) -> bytes:
    whole = saved("JPEG")
    return whole[:2] + b"".join(before) + whole[2:]


def _scans(frame: int, scans: int, width: int, height: int) -> bytes:
    """A picture of scans of its first colour that hold next to nothing."""
    tables = _segment(0xDB, bytes([0] + [1] * 64))
    tables += _segment(0xC4, bytes([0x00, 1] + [0] * 15 + [0]))  # one code: the value is 0
    tables += _segment(0xC4, bytes([0x10, 1] + [0] * 15 + [0xE0]))  # one code: 32767 empty blocks
    header = struct.pack(">BHHB", 8, height, width, 3) + b"".join(
        b"%c\x11\0" % i for i in b"\1\2\3"
    )
    bits = ("0" + "1" * 14) * (width * height // 64 // 32767 + 1)
    bits = bits.ljust(-(-len(bits) // 8) * 8, "1")
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = _segment(_SOS, bytes([1, 1, 0, frame == 0xC2, 63, 0])) + data
    return b"\xff\xd8" + tables + _segment(frame, header) + scan * scans + b"\xff\xd9"


@_add("jpg")
def _exif_segments_of_ratios() -> bytes:
    block = _tiff([(282, 5, 120_000, 8), (296, 3, 1, 2)], struct.pack("<I", 1) * 240_000)
    parts = (block[i : i + 65_000] for i in range(0, len(block), 65_000))
    return _jpeg(*(_segment(0xE1, b"Exif\0\0" + part) for part in parts))


FILES |= {
    "exif_segments.jpg": lambda: _jpeg(_segment(0xE1, b"Exif\0\0a") * _MANY),
    "exif_segments_of_64_kilobytes.jpg": lambda: _jpeg(
        _segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 120
    ),
    "empty_segments.jpg": lambda: _jpeg(_segment(0xE3, b"") * 1_000_000),
    "comments.jpg": lambda: _jpeg(_segment(0xFE, b"a") * _MANY),
    "profile_segments.jpg": lambda: _jpeg(_segment(0xE2, b"ICC_PROFILE\0\1\1") * _MANY),
    "photoshop_blocks.jpg": lambda: _jpeg(
        _segment(
            0xED,
            b"Photoshop 3.0\0"
            + b"".join(b"8BIM" + struct.pack(">HHI", i, 0, 0) for i in range(5000)),
        )
        * 70
    ),
    "quantization_tables.jpg": lambda: _jpeg(_segment(0xDB, bytes(65)) * 60_000),
    "padding.jpg": lambda: _jpeg(b"\xff" * 8_000_000),
    "junk.jpg": lambda: _jpeg(bytes(8_000_000)),
    "progressive_scans.jpg": lambda: _scans(0xC2, 5000, 2000, 2000),
    "progressive_scans_that_are_allowed.jpg": lambda: _scans(0xC2, 32, 1200, 1200),
    "sequential_scans.jpg": lambda: _scans(0xC0, 5000, 2000, 2000),
    "claims_190_megapixels_in_scans.jpg": lambda: _scans(0xC2, 1, 19000, 10000)[:200],
    "claims_4_gigapixels_jpeg.jpg": lambda: _scans(0xC0, 1, 65500, 65500),
    "many_pictures_in_one.jpg": lambda: _jpeg(
        _segment(
            0xE2,
            b"MPF\0"
            + _tiff(
                [(0xB000, 7, 4, 0x30303130), (0xB001, 4, 1, 4000), (0xB002, 7, 64000, 8)],
                (struct.pack("<IIIHH", 0x030000, 0, 0, 0, 0) * 4000),
            ),
        )
    ),
}


# GIF: blocks and frames without end, frames larger than the screen.

_GIF_HEAD = b"GIF89a" + struct.pack("<HHBBB", 20, 12, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"

_GIF_DATA = b"\2\2\x4c\1\0"


def _gif_frame(width: int = 1, height: int = 1) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + _GIF_DATA


@_add("gif")
def _frame_larger_than_the_screen() -> bytes:
    return _GIF_HEAD + b"!\xf9\4\x08\0\0\0\0" + _gif_frame(65535, 65535) + b";"


FILES |= {
    "frames.gif": lambda: _GIF_HEAD + _gif_frame() * 500_000 + b";",
    "comments_before_the_frame.gif": lambda: (
        _GIF_HEAD + b"!\xfe\1a\0" * 1_000_000 + _gif_frame() + b";"
    ),
    "comments_after_the_frame.gif": lambda: (
        _GIF_HEAD + _gif_frame() + b"!\xfe\1a\0" * 1_000_000 + _gif_frame() + b";"
    ),
    "comment_in_single_bytes.gif": lambda: (
        _GIF_HEAD + b"!\xfe" + b"\1a" * 3_000_000 + b"\0" + _gif_frame() + b";"
    ),
    "pixels_in_single_bytes.gif": lambda: (
        _GIF_HEAD + _gif_frame()[:-4] + b"\1\x4c" * 3_000_000 + b"\0" + _gif_frame() + b";"
    ),
    "frame_larger_than_the_screen_and_cut.gif": lambda: _frame_larger_than_the_screen()[:-3],
    "frame_behind_what_looks_like_one.gif": lambda: (
        _GIF_HEAD
        + (b"!\xf9\0\x0b" + b"," + bytes(10) + b"\0")
        + _frame_larger_than_the_screen()[len(_GIF_HEAD) :]
    ),
    "frame_of_190_megapixels.gif": lambda: (
        _GIF_HEAD + b"!\xf9\4\x08\0\0\0\0" + _gif_frame(19000, 10000) + b";"
    ),
}


# WebP and AVIF: their libraries make room for the picture when the file is opened.


def _riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _vp8x(width: int, height: int, flags: int = 2) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sizes)


def _webp_frame() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "WEBP", lossless=True)
    return _webp_chunk(b"ANMF", bytes(15) + b"\0" + out.getvalue()[12:])


def _webp_animation(width: int, height: int, frames: int) -> bytes:
    return _riff(_vp8x(width, height), _webp_chunk(b"ANIM", bytes(6)), _webp_frame() * frames)


def _avif(exif: bytes = b"") -> bytes:
    return saved("AVIF", exif=exif) if exif else saved("AVIF")


def _with_items(kind: bytes, entry: Callable[[int], bytes], count: int) -> bytes:
    """An AVIF whose `meta` box lists so many items more."""
    whole = _avif()
    place = whole.index(b"meta") - 4
    (size,) = struct.unpack_from(">I", whole, place)
    entries = b"".join(entry(i + 100) for i in range(count))
    heads = {
        b"iinf": b"\1\0\0\0" + struct.pack(">I", count),
        b"ipma": b"\1\0\0\0" + struct.pack(">I", count),
        b"iloc": b"\2\0\0\0\0\0" + struct.pack(">I", count),
    }
    box = struct.pack(">I4s", 8 + len(heads[kind]) + len(entries), kind) + heads[kind] + entries
    inner = bytearray(whole[place : place + size])
    at = inner.index(kind) - 4
    (old,) = struct.unpack_from(">I", inner, at)
    inner[at : at + old] = box
    inner[:4] = struct.pack(">I", len(inner))
    return whole[:place] + bytes(inner) + whole[place + size :]


@_add("avif")
def _items() -> bytes:
    def entry(number: int) -> bytes:
        body = b"infe\3\0\0\0" + struct.pack(">IH4s", number, 0, b"av01") + b"\0"
        return struct.pack(">I", 4 + len(body)) + body

    return _with_items(b"iinf", entry, 150_000)


@_add("avif")
def _frames_of_one_byte() -> bytes:
    frames = [Image.fromarray(_SAMPLES ^ i) for i in range(2)]
    out, count = io.BytesIO(), 2_500_000
    frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:])
    whole = bytearray(out.getvalue())
    struct.pack_into(">II", whole, whole.index(b"stsz") + 8, 1, count)
    for kind, place in ((b"stts", 12), (b"stsc", 16)):
        struct.pack_into(">I", whole, whole.index(kind) + place, count)
    return bytes(whole) + bytes(count)


FILES |= {
    "canvas_of_4_gigapixels.webp": lambda: _webp_animation(65500, 65500, 1),
    "frames_webp.webp": lambda: _webp_animation(20, 12, 100_000),
    "unknown_chunks.webp": lambda: _riff(
        _vp8x(20, 12, 0), saved("WEBP")[12:], _webp_chunk(b"abcd", b"") * 500_000
    ),
    "exif_of_ratios_turned.avif": lambda: _avif(
        b"Exif\0\0"
        + _tiff([(274, 3, 1, 6), (33434, 5, 270_000, 8)], struct.pack("<I", 1) * 540_000)
    ),
    "properties.avif": lambda: _with_items(b"ipma", lambda i: struct.pack(">IB", i, 0), _MANY),
    "places.avif": lambda: _with_items(b"iloc", lambda i: struct.pack(">IHHH", i, 0, 0, 0), _MANY),
}


# BMP and netpbm: Pillow decodes some of them in Python.


def _bmp(width: int, height: int, compression: int, data: bytes, header: int = 40) -> bytes:
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 8, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + info + bytes(range(256)) * 4 + data


@_add("ppm")
def _comment_in_the_header() -> bytes:
    return b"P6\n#" + b"a" * 8_000_000 + b"\n20 12 255\n" + bytes(720)


@_add("ppm")
def _comments_between_values() -> bytes:
    return b"P3 20 12 255\n" + b"#\n" * 500_000 + b"0 " * 720


FILES |= {
    "ends_of_lines.bmp": lambda: _bmp(60_000, 3000, 1, b"\1\1\0\0" * 3000),
    "one_end_of_a_long_line.bmp": lambda: _bmp(190_000_000, 1, 1, b"\1\1\0\0"),
    "moves_nowhere.bmp": lambda: _bmp(20, 12, 1, b"\0\2\0\0" * 2_000_000),
    "claims_190_megapixels_bmp.bmp": lambda: _bmp(19000, 10000, 0, bytes(100)),
    "header_of_4_gigabytes.bmp": lambda: _bmp(20, 12, 0, bytes(240), header=2**32 - 1),
    "spaces_in_the_header.ppm": lambda: b"P6" + b" " * 8_000_000 + b"20 12 255\n" + bytes(720),
    "values_in_words.ppm": lambda: b"P3 2000 1000 255\n" + b"0 " * 6_000_000,
    "values_of_another_maximum.ppm": lambda: b"P6 2000 1000 100\n" + bytes(6_000_000),
    "claims_190_megapixels_ppm.ppm": lambda: b"P6 19000 10000 255\n" + bytes(100),
}


def _cut(name: str, whole: bytes, places: Iterable[int]) -> None:
    for place in places:
        FILES[f"cut_at_{place}.{name}"] = lambda place=place: whole[:place]  # type: ignore[misc]


# A tuple: workers of pytest must collect the same names in the same order.
for _kind in ("JPEG", "TIFF", "PNG", "GIF", "WEBP", "BMP", "AVIF", "PPM"):
    _whole = saved(_kind)
    _cut(
        {"JPEG": "jpg", "TIFF": "tif"}.get(_kind, _kind.lower()),
        _whole,
        sorted({1, 4, 12, 20, 30, 33, 41, 60, len(_whole) // 2, len(_whole) - 1}),
    )


def cost(path: Path, action: Callable[[Path], object]) -> dict[str, object]:
    """Run the action in a child; its CPU seconds, megabytes above ours and last words."""
    receiving, sending = os.pipe()
    with Path("/proc/self/statm").open() as file:
        idle = int(file.read().split()[1]) * resource.getpagesize()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        words: object
        try:
            words = action(path)
        except BaseException as error:
            words = f"{type(error).__name__}: {error}"
        os.write(sending, str(words)[:1000].encode())
        os._exit(0)
    os.close(sending)
    _, status, usage = os.wait4(child, 0)
    with os.fdopen(receiving, "rb") as file:
        answer = file.read().decode()
    return {
        "seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": (usage.ru_maxrss * 1024 - idle) / 1e6,
        "words": answer if status == 0 else f"killed: {status}",
    }


def read_and_write(path: Path) -> str:
    """Read a picture, and write what was read in every format; what that said."""
    from lorair.runtime import images

    picture = images.read(path)
    lost = [
        images.write(path.with_name(f"out{ending}"), picture)
        for ending in (".png", ".tiff", ".jpg", ".webp", ".avif")
    ]
    return f"{picture.pixels.shape} {picture.notes} {list(itertools.chain(*lost))}"


def main(names: list[str]) -> None:
    """Print what each file costs, as JSON lines."""
    from lorair.runtime import images

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "warm.png")
        path.write_bytes(saved("PNG"))
        images.read(path)
        for name in names or FILES:
            content = FILES[name]()
            path = Path(folder, name)
            path.write_bytes(content)
            size = len(content)
            del content
            print(json.dumps({"name": name, "size": size} | cost(path, read_and_write)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
