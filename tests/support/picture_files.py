"""Picture files made and taken apart byte by byte, without the code under test."""

import struct
import zlib

import numpy as np

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_PNG_START = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_file(samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """(H, W, channels) uint8 or uint16, each row with another of the five filters."""
    height, width, channels = samples.shape
    size = samples.itemsize * channels
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    above, packed = bytes(rows.shape[1]), b""
    for number, row in enumerate(rows):
        kind, now = number % 5, row.tobytes()
        packed += bytes([kind]) + bytes(
            (value - _predicted(kind, now, above, i, size)) % 256 for i, value in enumerate(now)
        )
        above = now
    bits = 8 * samples.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    return (
        _PNG_START
        + png_chunk(b"IHDR", header)
        + b"".join(png_chunk(*chunk) for chunk in chunks)
        + png_chunk(b"IDAT", zlib.compress(packed))
        + png_chunk(b"IEND", b"")
    )


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    assert content.startswith(_PNG_START)
    found, place = [], len(_PNG_START)
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        assert content[place : place + 12 + length] == png_chunk(kind, data)
        found.append((kind, data))
        place += 12 + length
    return found


def png_samples(content: bytes) -> np.ndarray:
    """(H, W, channels) in the file's depth."""
    chunks = png_chunks(content)
    width, height, bits, colour, *_ = struct.unpack(">IIBBBBB", chunks[0][1])
    channels = {v: k for k, v in _COLOUR_TYPES.items()}[colour]
    size = channels * bits // 8
    raw = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    above, rows = bytes(width * size), []
    for y in range(height):
        kind, *coded = raw[y * (width * size + 1) : (y + 1) * (width * size + 1)]
        now = bytearray()
        for i, value in enumerate(coded):
            now.append((value + _predicted(kind, now, above, i, size)) % 256)
        rows.append(bytes(now))
        above = now
    return np.frombuffer(b"".join(rows), f">u{bits // 8}").reshape(height, width, channels)


def _predicted(kind: int, now: bytes, above: bytes, i: int, size: int) -> int:
    """The five filters, as the PNG specification words them."""
    a, b = (now[i - size] if i >= size else 0), above[i]
    c = above[i - size] if i >= size else 0
    if kind == 4:
        p = a + b - c
        return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
    return (0, a, b, (a + b) // 2)[kind]


def exif_block(orientation: int, width: int, height: int, order: str = "<") -> bytes:
    """Maker, orientation, a rational, an EXIF directory with a maker note, a thumbnail."""
    maker, note, thumbnail = b"A maker of cameras\0", b"NOTE\0offset 0x%04x", b"\xff\xd8old\xff\xd9"
    first, exif, second, values = 8, 120, 200, 260

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        short = kind == 3 and count == 1
        return struct.pack(
            order + "HHI" + ("HH" if short else "I"), tag, kind, count, value, *[0] * short
        )

    def directory(*entries: bytes, following: int = 0) -> bytes:
        count = struct.pack(order + "H", len(entries))
        return count + b"".join(entries) + struct.pack(order + "I", following)

    ratio = values + len(maker) + 1
    note_at = ratio + 8
    thumbnail_at = note_at + len(note) + len(note) % 2
    block = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first))
    for place, part in (
        (
            first,
            directory(
                entry(271, 2, len(maker), values),
                entry(274, 3, 1, orientation),
                entry(282, 5, 1, ratio),
                entry(34665, 4, 1, exif),
                following=second,
            ),
        ),
        (
            exif,
            directory(
                entry(37500, 7, len(note), note_at),
                entry(40962, 4, 1, width),
                entry(40963, 3, 1, height),
            ),
        ),
        (second, directory(entry(513, 4, 1, thumbnail_at), entry(514, 4, 1, len(thumbnail)))),
        (values, maker),
        (ratio, struct.pack(order + "II", 300, 1)),
        (note_at, note),
        (thumbnail_at, thumbnail),
    ):
        block.extend(bytes(place - len(block)))
        block += part
    return bytes(block)


def exif_fields(block: bytes) -> dict[tuple[str, int], tuple[int, bytes]]:
    """{(directory, tag): (type, value's bytes, little-endian numbers aside)}."""
    order = "<" if block[:2] == b"II" else ">"
    found: dict[tuple[str, int], tuple[int, bytes]] = {}
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}

    def walk(name: str, place: int) -> None:
        (count,) = struct.unpack_from(order + "H", block, place)
        for i in range(count):
            at = place + 2 + 12 * i
            tag, kind, values = struct.unpack_from(order + "HHI", block, at)
            size = sizes[kind] * values
            (pointer,) = struct.unpack_from(order + "I", block, at + 8)
            start = pointer if size > 4 else at + 8
            found[name, tag] = (kind, block[start : start + size])
            if tag == 34665:
                walk("exif", pointer)
        (following,) = struct.unpack_from(order + "I", block, place + 2 + 12 * count)
        if following:
            walk("thumbnail", following)

    walk("first", struct.unpack_from(order + "I", block, 4)[0])
    return found


def jpeg_segments(content: bytes) -> dict[bytes, bytes]:
    """APP1 and APP2 by the word they begin with."""
    found, place = {}, 2
    while content[place + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, place + 2)
        word, _, data = content[place + 4 : place + 2 + length].partition(b"\0")
        found[word] = data
        place += 2 + length
    return found


def webp_chunks(content: bytes) -> dict[bytes, bytes]:
    found, place = {}, 12
    while place < len(content):
        kind, length = struct.unpack_from("<4sI", content, place)
        found[kind] = content[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    return found


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """An upright picture as a file of this EXIF orientation holds it."""
    by_hand = {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(np.swapaxes(p, 0, 1), 2),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(by_hand[orientation](upright))
