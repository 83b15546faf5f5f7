import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorair.runtime import images
from lorair.runtime.errors import OutputError, PictureError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_what_is_written_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    images.write(path, images.Picture(PIXELS))
    np.testing.assert_array_equal(images.read(path).pixels, PIXELS)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_lose_little(suffix: str, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    images.write(path, images.Picture(photo))
    error = images.read(path).pixels.astype(float) - photo
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 36


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
    assert images.write(tmp_path / "b.jpg", picture) == (".jpg has no alpha, it was dropped",)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "RGBA", "YCbCr"])
def test_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.fromarray(PIXELS).convert(mode).save(path)
    picture = images.read(path)
    assert picture.pixels.dtype == np.uint8
    with Image.open(path) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    coloured = (picture.pixels[..., 0] != picture.pixels[..., 2]).any()
    assert coloured == (mode not in ("1", "L", "LA"))
    assert (picture.alpha is not None) == (mode in ("LA", "RGBA"))


def test_profiles_of_inks_end_with_them(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "c.tif", icc_profile=b"inks")
    picture = images.read(tmp_path / "c.tif")
    assert picture.metadata.icc_profile is None
    assert picture.notes == (
        "CMYK was converted to RGB without regard to inks; colours are approximate",
        "the colour profile was dropped in the conversion to RGB",
    )


def test_of_an_animation_the_first_frame_is_read_and_said_so(tmp_path: Path) -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert images.read(tmp_path / "a.gif").notes == ("only the first of several frames was read",)


def test_nothing_is_started_for_a_picture(tmp_path: Path) -> None:
    """Pillow hands PostScript to another program."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(PictureError, match="bytes of something else"):
        images.read(tmp_path / "x.png")


def test_a_format_that_cannot_hold_the_picture(tmp_path: Path) -> None:
    wide = images.Picture(np.zeros((2, 17000, 3), np.uint8))
    with pytest.raises(OutputError, match=r"wide\.webp: found .*another format"):
        images.write(tmp_path / "wide.webp", wide)
    assert list(tmp_path.iterdir()) == []


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


def test_a_kind_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.jxl").write_bytes(b"\xff\x0a" + bytes(100))
    with pytest.raises(PictureError, match=r"found a \.jxl file; export it as PNG or TIFF first"):
        images.read(tmp_path / "x.jxl")
    (tmp_path / "x.psd").write_bytes(_png())  # the bytes tell
    assert images.read(tmp_path / "x.psd").pixels.shape == PIXELS.shape


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
