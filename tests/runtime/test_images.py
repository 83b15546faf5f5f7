import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lorair.runtime import images
from lorair.runtime.errors import OutputError, PictureError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_what_is_written_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    images.write(path, images.Picture(PIXELS))
    found = images.read(path).pixels
    tolerance = 255 if suffix == ".webp" else 0
    assert np.abs(found.astype(int) - PIXELS).max() <= tolerance
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    upright = Image.fromarray(PIXELS)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(images.read(tmp_path / "turned.png").pixels, PIXELS)


def test_alpha_is_kept_straight(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 240).astype(np.uint8).reshape(12, 20)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "a.png")
    picture = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    images.write(tmp_path / "b.png", picture.with_pixels(255 - PIXELS))
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.dstack([255 - PIXELS, alpha]))
    images.write(tmp_path / "b.jpg", picture)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "RGBA", "YCbCr"])
def test_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.fromarray(PIXELS).convert(mode).save(path)
    picture = images.read(path)
    assert picture.pixels.shape == (12, 20, 3)
    assert picture.pixels.dtype == np.uint8
    assert (picture.alpha is not None) == (mode in ("LA", "RGBA"))


def test_colour_profile_is_carried_over(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=profile)
    images.write(tmp_path / "b.jpg", images.read(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info["icc_profile"] == profile
    # A grey profile must not end up on RGB pixels.
    Image.fromarray(PIXELS).convert("L").save(tmp_path / "c.png", icc_profile=profile)
    assert images.read(tmp_path / "c.png").icc_profile is None


def test_sixteen_bit_colour_is_read_as_eight_and_said_so(tmp_path: Path) -> None:
    """A PNG made by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    row = b"\0" + np.array([[0x1234, 0xABCD, 0xFFFF]] * 3, ">u2").tobytes()
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * 2))
        + chunk(b"IEND", b"")
    )
    picture = images.read(path)
    assert picture.pixels[0, 0].tolist() == [0x12, 0xAB, 0xFF]
    assert picture.notes == ("16 bits a channel were read as 8",)
    assert images.read(path, 6).pixels.shape == (2, 3, 3)


def test_sixteen_bit_grey_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(PictureError, match=r"deep\.png: wanted 8 bits a channel"):
        images.read(tmp_path / "deep.png")


def _png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found an empty file"),
        (b"hello, I am text" * 10, "160 bytes of something else"),
        (_png()[:-300], "damaged data"),
        (_png()[:40], "40 bytes of something else"),
        (_png()[:200] + b"\xff" * 50 + _png()[250:], "damaged data"),
    ],
)
def test_damaged_files(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=rf"cannot read .*bad\.png: wanted a picture.*{words}"):
        images.read(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="found no such file"):
        images.read(tmp_path / "none.png")
    with pytest.raises(PictureError, match="cannot read"):
        images.read(tmp_path)


@pytest.mark.parametrize("size", [(1, 1)])
def test_too_small(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "dot.png")
    with pytest.raises(PictureError, match=r"dot\.png: wanted at least 2 pixels, found 1x1"):
        images.read(tmp_path / "dot.png")


def _png_that_claims(side: int) -> bytes:
    """A header that promises side x side pixels, whatever is behind it."""
    content = bytearray(_png())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def test_no_pixels_at_all(tmp_path: Path) -> None:
    (tmp_path / "void.png").write_bytes(_png_that_claims(0))
    with pytest.raises(PictureError, match=r"void\.png"):
        images.read(tmp_path / "void.png")


def test_size_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(_png_that_claims(60000))
    with pytest.raises(PictureError, match=r"at most 200 megapixels, found 60000x60000, 3600 mega"):
        images.read(tmp_path / "bomb.png")
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(PictureError, match=r"at most 0\.0001 megapixels"):
        images.read(tmp_path / "bomb.png", max_pixels=100)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_unknown_endings_are_refused(tmp_path: Path) -> None:
    for name in ("out.xyz", "out"):
        with pytest.raises(OutputError, match=r"wanted one of the endings \.png"):
            images.write(tmp_path / name, images.Picture(PIXELS))
    assert list(tmp_path.iterdir()) == []
