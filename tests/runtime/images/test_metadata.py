import contextlib
import struct
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import picture_files as files
import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from lorair.runtime import images
from lorair.runtime.images.exif import upright

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_only_what_is_untrue_changes(order: str, orientation: int) -> None:
    before = files.exif_block(orientation, 20, 12, order)
    width, height = (20, 12) if orientation == 1 else (12, 20)
    after = upright(before, width, height)
    fields = files.exif_fields(after)
    wanted = files.exif_fields(before)
    number = {3: order + "H", 4: order + "I"}
    wanted["first", 274] = (3, struct.pack(order + "H", 1))
    for tag, value in ((40962, width), (40963, height)):
        kind = wanted["exif", tag][0]
        wanted["exif", tag] = (kind, struct.pack(number[kind], value))
    assert fields == {k: v for k, v in wanted.items() if k[0] != "thumbnail"}
    # A maker note's offsets count from the block's beginning.
    assert after.index(b"NOTE") == before.index(b"NOTE")
    assert b"old" not in after
    assert len(after) == before.index(b"\xff\xd8old")


def test_a_thumbnail_in_the_middle_is_blanked() -> None:
    before = files.exif_block(1, 20, 12) + b"more"
    after = upright(before, 20, 12)
    assert len(after) == len(before)
    assert b"old" not in after
    assert after.endswith(b"more")


@pytest.mark.parametrize("cut", [3, 9, 30, 130, 205])
def test_damaged_exif_is_dropped_and_said_so(cut: int, tmp_path: Path) -> None:
    block = files.exif_block(1, 20, 12)[:cut]
    (tmp_path / "x.png").write_bytes(files.png_file(PIXELS, (b"eXIf", block)))
    picture = images.read(tmp_path / "x.png")
    assert picture.metadata.exif is None
    assert picture.notes == ("the EXIF data is damaged and was dropped",)
    np.testing.assert_array_equal(picture.pixels, PIXELS)


def test_any_damage_is_survived() -> None:
    rng = np.random.default_rng(0)
    whole = np.frombuffer(files.exif_block(6, 20, 12), np.uint8)
    for _ in range(500):
        block = whole.copy()
        block[rng.integers(0, len(block), 4)] = rng.integers(0, 256, 4)
        with contextlib.suppress(ValueError, struct.error):
            upright(block.tobytes(), 20, 12)


def test_xmp_turns_with_the_picture(tmp_path: Path) -> None:
    xmp = b'<x tiff:Orientation="%d" b="1"/><tiff:Orientation>%d</tiff:Orientation>'
    chunks = (
        (b"eXIf", files.exif_block(6, 20, 12)),
        (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp % (6, 6)),
    )
    (tmp_path / "x.png").write_bytes(files.png_file(PIXELS, *chunks))
    assert images.read(tmp_path / "x.png").metadata.xmp == xmp % (1, 1)


def tiff_around(block: bytes, pixels: np.ndarray) -> bytes:
    """The block's first directory with the picture's fields: an uncompressed TIFF."""
    (count,) = struct.unpack_from("<H", block, 8)
    height, width = pixels.shape[:2]
    numbers = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 277: 3, 278: height}
    numbers |= {273: len(block) + len(block) % 2, 279: pixels.nbytes}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items()]
    entries += [block[10 + 12 * i : 22 + 12 * i] for i in range(count)]
    body = block + bytes(len(block) % 2) + pixels.tobytes()
    directory = struct.pack("<H", len(entries)) + b"".join(sorted(entries, key=_tag)) + bytes(4)
    return body[:4] + struct.pack("<I", len(body)) + body[8:] + directory


def _tag(entry: bytes) -> int:
    return int(struct.unpack_from("<H", entry)[0])


def test_fields_of_a_tiff_and_its_directories(tmp_path: Path) -> None:
    block = files.exif_block(6, 20, 12).replace(b"maker of", "mäker of".encode("latin-1"))
    (tmp_path / "a.tif").write_bytes(tiff_around(block, PIXELS))
    picture = images.read(tmp_path / "a.tif")
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, np.rot90(PIXELS, -1))
    wanted = files.exif_fields(block)
    wanted["exif", 40962], wanted["exif", 40963] = (4, b"\x0c\0\0\0"), (3, b"\x14\0")
    images.write(tmp_path / "b.tiff", picture)
    assert picture.metadata.exif is not None
    for written in (picture.metadata.exif, (tmp_path / "b.tiff").read_bytes()):
        found = files.exif_fields(written)
        for name in (("first", 271), ("exif", 37500), ("exif", 40962), ("exif", 40963)):
            assert found[name] == wanted[name]


@pytest.mark.parametrize("big", [False, True])
def test_what_a_tiff_says_is_kept_or_named(big: bool, tmp_path: Path) -> None:
    white = struct.pack("<4I", 3127, 10000, 3290, 10000)
    colours = struct.pack("<12I", *[64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100])
    kept = [
        (315, "s", 0, "me", True),
        (318, 5, 2, white, True),
        (319, 5, 6, colours, True),
        (42112, "s", 0, "<GDALMetadata/>", True),
        (50735, "s", 0, "0815", True),
    ]
    dropped = [(301, "H", 768, tuple(range(768)), True), (65001, "H", 1, 7, True)]
    options = {"bigtiff": big, "photometric": "rgb", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, extratags=[*kept, *dropped], **options)
    picture = images.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert picture.notes == ("TIFF fields were dropped: TransferFunction, 65001",)
    images.write(tmp_path / "b.tif", picture)
    with (
        tifffile.TiffFile(tmp_path / "a.tif") as before,
        tifffile.TiffFile(tmp_path / "b.tif") as after,
    ):
        for tag, *_ in kept:
            assert after.pages[0].tags[tag].value == before.pages[0].tags[tag].value


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_resolution(depth: type, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    tags = [(274, "H", 1, 6, True)]
    options = {"resolution": (300, 150), "resolutionunit": "inch", "extratags": tags}
    tifffile.imwrite(source, PIXELS.astype(depth), photometric="rgb", metadata=None, **options)
    picture = images.read(source)
    for name in ("b.png", "b.tiff", "b.jpg", "b.bmp"):
        images.write(tmp_path / name, picture)
        with Image.open(tmp_path / name) as image:
            found = tuple(map(float, image.info["dpi"]))
        assert found == pytest.approx((150, 300), rel=1e-3), name


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_what_only_png_holds_stays_in_png(depth: type, tmp_path: Path) -> None:
    chunks = [
        (b"gAMA", struct.pack(">I", 100000)),
        (b"cICP", bytes([9, 16, 0, 1])),
        (b"tEXt", b"parameters\0a cat"),
        (b"iTXt", b"Titel" + bytes(5) + "für".encode()),
    ]
    (tmp_path / "a.png").write_bytes(files.png_file(PIXELS.astype(depth), *chunks))
    picture = images.read(tmp_path / "a.png")
    assert images.write(tmp_path / "b.png", picture) == ()
    written = files.png_chunks((tmp_path / "b.png").read_bytes())
    assert [c for c in written if c[0] not in (b"IHDR", b"IDAT", b"IEND")] == chunks
    notes = images.write(tmp_path / "b.jpg", picture)
    assert "the PNG's text was dropped" in notes
    assert "the PNG's colour space (cICP, gAMA) was dropped" in notes


def test_avif_keeps_the_block_but_for_its_orientation(tmp_path: Path) -> None:
    block = upright(files.exif_block(6, 20, 12), 20, 12)
    metadata = images.Metadata(exif=block)
    images.write(tmp_path / "x.avif", images.Picture(PIXELS, metadata=metadata))
    found = images.read(tmp_path / "x.avif").metadata.exif
    assert found is not None
    assert found.index(b"NOTE") - found.index(b"II*") == block.index(b"NOTE")
    wanted = files.exif_fields(block)
    del wanted["first", 274]
    assert files.exif_fields(found[found.index(b"II*") :]) == wanted


def test_jpeg_has_no_room_for_more_than_64_kilobytes(tmp_path: Path) -> None:
    big = files.exif_block(1, 20, 12) + bytes(70000)
    metadata = images.Metadata(exif=big, xmp=bytes(65600), icc_profile=bytes(range(256)) * 1000)
    notes = images.write(tmp_path / "x.jpg", images.Picture(PIXELS, metadata=metadata))
    assert [note.split(" of ")[0] for note in notes] == ["EXIF", "XMP"]
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.info["icc_profile"] == metadata.icc_profile


def test_iptc_of_a_jpeg_stays_or_becomes_xmp(tmp_path: Path) -> None:
    def record(group: int, dataset: int, text: str) -> bytes:
        data = text.encode()
        return struct.pack(">BBBH", 0x1C, group, dataset, len(data)) + data

    records = record(1, 90, "\x1b%G") + record(2, 5, "Küste & Meer") + record(2, 25, "rain")
    records += record(2, 25, "<storm>") + record(2, 90, "Kiel")
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    thumbnail = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 4) + b"old!"
    body = b"Photoshop 3.0\0" + thumbnail + resource + bytes(len(records) % 2)
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", extra=segment)
    picture = images.read(tmp_path / "a.jpg")
    assert picture.metadata.iptc == records
    assert images.write(tmp_path / "b.jpg", picture) == ()
    with Image.open(tmp_path / "b.jpg") as image:
        found = IptcImagePlugin.getiptcinfo(image)
        assert image.info["photoshop"] == {0x0404: records}
    assert found[2, 25] == [b"rain", b"<storm>"]
    assert images.write(tmp_path / "b.png", picture) == ()
    with Image.open(tmp_path / "b.png") as image:
        root = ElementTree.fromstring(image.info["xmp"].partition(b"?>")[2])
    assert [text.text for text in root.iter(f"{RDF}li")] == ["Küste & Meer", "rain", "<storm>"]
    mine = replace(picture, metadata=replace(picture.metadata, xmp=b"<mine/>"))
    images.write(tmp_path / "c.webp", mine)
    assert images.read(tmp_path / "c.webp").metadata.xmp == b"<mine/>"
    assert images.write(tmp_path / "c.bmp", picture) == (".bmp has no IPTC, it was dropped",)
    for cut in range(len(records)):
        broken = replace(picture, metadata=images.Metadata(iptc=records[:cut]))
        images.write(tmp_path / "d.png", broken)
