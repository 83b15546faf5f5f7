"""EXIF blocks: patched in place, so that every other byte stays where it is.

A block is a TIFF file without pixels. Maker notes hold offsets into it that only their
maker understands; a block that is parsed and written anew loses them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from PIL.ExifTags import IFD, Base

PREFIX = b"Exif\0\0"

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
TEXT_TYPES: Final = (BYTE, ASCII, UNDEFINED)

_WIDTHS, _HEIGHTS = (Base.ImageWidth, Base.ExifImageWidth), (Base.ImageLength, Base.ExifImageHeight)
_THUMBNAIL_OFFSETS = (Base.StripOffsets, Base.JpegIFOffset)
_THUMBNAIL_SIZES = (Base.StripByteCounts, Base.JpegIFByteCount)

# Bytes of each type; those from 16 to 18 are a BigTIFF's.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_SIZES |= {16: 8, 17: 8, 18: 8}

_MAX_ENTRIES = 4096


@dataclass(frozen=True)
class Field:
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
        if bytes(self.data[:4]) not in (b"II*\0", b"MM\0*", b"II+\0"):
            raise ValueError("no TIFF block")
        self.order = "<" if self.data[:1] == b"I" else ">"
        self.is_big = b"+" in self.data[2:4]
        self._pointer, self._count = ("Q", "Q") if self.is_big else ("I", "H")
        self._head = struct.calcsize("=HH" + self._pointer)
        self._entry = self._head + struct.calcsize("=" + self._pointer)

    @property
    def first(self) -> int:
        """Where the first directory is."""
        return self.number(self._pointer, 8 if self.is_big else 4)

    def number(self, kind: str, place: int) -> int:
        """An unsigned number: `H`, `I` or `Q`."""
        return int(struct.unpack_from(self.order + kind, self.data, place)[0])

    def put(self, kind: str, place: int, value: int) -> None:
        """Overwrite a number."""
        struct.pack_into(self.order + kind, self.data, place, value)

    def entries(self, directory: int) -> Iterator[Field]:
        """The fields of a directory, which together hold no more than the whole block."""
        count = self.number(self._count, directory)
        if count > _MAX_ENTRIES:
            raise ValueError(f"a directory of {count} fields")
        start, held = directory + struct.calcsize("=" + self._count), 0
        for place in range(start, start + count * self._entry, self._entry):
            entry = Field(
                place, *struct.unpack_from(self.order + "HH" + self._pointer, self.data, place)
            )
            held += _SIZES.get(entry.type, 0) * entry.count
            if held > len(self.data):
                raise ValueError("fields that hold more than there is")
            yield entry

    def next_pointer(self, directory: int) -> int:
        """Where the place of the next directory is written."""
        return directory + 2 + self.number("H", directory) * self._entry

    def pointer(self, entry: Field) -> int:
        """What a field names: where its values are, if they do not fit into it."""
        return self.number(self._pointer, entry.place + self._head)

    def raw(self, entry: Field) -> bytes:
        """A field's values, as they are."""
        size = _SIZES[entry.type] * entry.count
        fits = size <= self._entry - self._head
        start = entry.place + self._head if fits else self.pointer(entry)
        found = bytes(self.data[start : start + size])
        if len(found) != size:
            raise ValueError(f"field {entry.tag} ends too early")
        return found

    def value(self, entry: Field) -> int:
        """A field's value if it is one whole number, 0 if not."""
        letter = {SHORT: "H", LONG: "I", LONG8: "Q"}.get(entry.type)
        if entry.count != 1 or letter is None:
            return 0
        return self.number(letter, entry.place + self._head)

    def set_value(self, entry: Field, value: int) -> None:
        """Overwrite the value of a field of one SHORT or LONG; leave any other field."""
        if entry.count != 1 or entry.type not in (SHORT, LONG):
            return
        kind = SHORT if entry.type == SHORT and value < 2**16 else LONG
        self.put("H", entry.place + 2, kind)
        self.put("H" if kind == SHORT else "I", entry.place + 8, value)


def load(data: bytes) -> Block:
    """A copy of a block, to be patched; with or without the prefix."""
    block = Block(bytearray(data.removeprefix(PREFIX)))
    if block.is_big:
        raise ValueError("a BigTIFF")
    return block


def orientation(data: bytes) -> int:
    """What the block says, 0 if nothing.

    Raises:
        ValueError, struct.error: the block is damaged.
    """
    if not data:
        return 0
    block = load(data)
    return next(
        (block.value(e) for e in block.entries(block.first) if e.tag == Base.Orientation), 0
    )


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
            if entry.tag == Base.Orientation:
                block.set_value(entry, 1)
            elif entry.tag in _WIDTHS:
                block.set_value(entry, width)
            elif entry.tag in _HEIGHTS:
                block.set_value(entry, height)
            elif entry.tag == IFD.Exif and len(directories) == 1:
                directories.append(block.value(entry))
    _drop_thumbnail(block)
    return bytes(block.data)


def without_orientation(data: bytes) -> bytes:
    """The block without the field; the fields behind it move up, and nothing else."""
    block = load(data)
    for entry in block.entries(block.first):
        if entry.tag == Base.Orientation:
            end = block.next_pointer(block.first) + 4
            block.data[entry.place : end] = block.data[entry.place + 12 : end] + bytes(12)
            block.put("H", block.first, block.number("H", block.first) - 1)
            break
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
