"""EXIF blocks: patched in place, so that every other byte stays where it is.

A block is a TIFF file without pixels. Maker notes hold offsets into it that only their
maker understands; a block that is parsed and written anew loses them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

PREFIX = b"Exif\0\0"

SHORT, LONG = 3, 4
ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 274, 34665, 34853, 40965
# What a TIFF's first directory says about the picture, not about how it is stored:
# document, description, maker, model, page, software, date, artist, computer,
# rating, copyright, IPTC, Windows' XP fields.
DESCRIPTIVE = (
    *(269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 33723),
    *range(40091, 40096),
)

_WIDTHS, _HEIGHTS = (256, 40962), (257, 40963)
_THUMBNAIL_OFFSETS, _THUMBNAIL_SIZES = (273, 513), (279, 514)

# Bytes of each type; an unknown one is a KeyError.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}

_ENTRY = 12
_MAX_ENTRIES = 4096


@dataclass(frozen=True)
class Entry:
    """One field. place: where its 12 bytes are in the block."""

    place: int
    tag: int
    type: int
    count: int


class Block:
    """A block being read or patched, or a whole TIFF file being read.

    Raises:
        ValueError: it is no TIFF block.
        struct.error: it ends too early.
    """

    def __init__(self, data: bytearray | mmap) -> None:
        self.data = data
        if bytes(self.data[:4]) not in (b"II*\0", b"MM\0*"):
            raise ValueError("no TIFF block")
        self.order = "<" if self.data[:1] == b"I" else ">"

    @property
    def first(self) -> int:
        """Where the first directory is."""
        return self.number("I", 4)

    def number(self, kind: str, place: int) -> int:
        """An unsigned number: `H` or `I`."""
        return int(struct.unpack_from(self.order + kind, self.data, place)[0])

    def put(self, kind: str, place: int, value: int) -> None:
        """Overwrite a number."""
        struct.pack_into(self.order + kind, self.data, place, value)

    def entries(self, directory: int) -> Iterator[Entry]:
        """The fields of a directory."""
        count = self.number("H", directory)
        if count > _MAX_ENTRIES:
            raise ValueError(f"a directory of {count} fields")
        for place in range(directory + 2, directory + 2 + count * _ENTRY, _ENTRY):
            values = struct.unpack_from(self.order + "HHI", self.data, place)
            yield Entry(place, *values)

    def next_pointer(self, directory: int) -> int:
        """Where the place of the next directory is written."""
        return directory + 2 + self.number("H", directory) * _ENTRY

    def raw(self, entry: Entry) -> bytes:
        """A field's values, as they are."""
        size = _SIZES[entry.type] * entry.count
        start = entry.place + 8 if size <= 4 else self.number("I", entry.place + 8)
        found = bytes(self.data[start : start + size])
        if len(found) != size:
            raise ValueError(f"field {entry.tag} ends too early")
        return found

    def value(self, entry: Entry) -> int:
        """A field's value if it is one SHORT or LONG, 0 if not."""
        if entry.count != 1 or entry.type not in (SHORT, LONG):
            return 0
        return self.number("H" if entry.type == SHORT else "I", entry.place + 8)

    def set_value(self, entry: Entry, value: int) -> None:
        """Overwrite the value of a field of one SHORT or LONG; leave any other field."""
        if entry.count != 1 or entry.type not in (SHORT, LONG):
            return
        kind = SHORT if entry.type == SHORT and value < 2**16 else LONG
        self.put("H", entry.place + 2, kind)
        self.put("H" if kind == SHORT else "I", entry.place + 8, value)


def load(data: bytes) -> Block:
    """A copy of a block, to be patched; with or without the prefix."""
    return Block(bytearray(data.removeprefix(PREFIX)))


def orientation(data: bytes) -> int:
    """What the block says, 0 if nothing.

    Raises:
        ValueError, struct.error: the block is damaged.
    """
    if not data:
        return 0
    block = load(data)
    return next((block.value(e) for e in block.entries(block.first) if e.tag == ORIENTATION), 0)


def upright(data: bytes, width: int, height: int) -> bytes:
    """The block of the upright picture: orientation 1, its size, no thumbnail.

    A thumbnail would show the picture as it was. A first directory without an orientation
    gets none.

    Raises:
        ValueError, struct.error: the block is damaged.
    """
    block = load(data)
    directories = [block.first]
    for directory in directories:
        for entry in block.entries(directory):
            if entry.tag == ORIENTATION:
                block.set_value(entry, 1)
            elif entry.tag in _WIDTHS:
                block.set_value(entry, width)
            elif entry.tag in _HEIGHTS:
                block.set_value(entry, height)
            elif entry.tag == EXIF_IFD and len(directories) == 1:
                directories.append(block.value(entry))
    _drop_thumbnail(block)
    return bytes(block.data)


def _drop_thumbnail(block: Block) -> None:
    """Unlink the second directory; cut its picture off, or blank it if others follow."""
    pointer = block.next_pointer(block.first)
    second = block.number("I", pointer)
    block.put("I", pointer, 0)
    if second == 0:
        return
    values = {e.tag: block.value(e) for e in block.entries(second)}
    for offset, size in zip(_THUMBNAIL_OFFSETS, _THUMBNAIL_SIZES, strict=True):
        start, length = values.get(offset, 0), values.get(size, 0)
        if second < start < start + length <= len(block.data):
            block.data[start : start + length] = bytes(length)
            if start + length >= len(block.data) - 1:
                del block.data[start:]
