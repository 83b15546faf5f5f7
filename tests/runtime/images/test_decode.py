"""16 bits a channel, in every way that files hold them."""

from pathlib import Path

import numpy as np
import picture_files as files
import pytest
import tifffile
from PIL import Image

from lorair.runtime import images
from lorair.runtime.errors import PictureError
from lorair.runtime.images.decode import avif_bits

# More rows than a strip, so that strips meet.
DEEP = np.random.default_rng(0).integers(0, 2**16, (150, 20, 3), np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [{}, {"rowsperstrip": 7}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}],
)
def test_tiff(order: str, options: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb", byteorder=order, **options)
    picture = images.read(path)
    assert picture.pixels.dtype == np.uint16
    np.testing.assert_array_equal(picture.pixels, DEEP)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiles(compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb", tile=(16, 16), compression=compression)
    np.testing.assert_array_equal(images.read(path).pixels, DEEP)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "raw"])
def test_grey_tiff_of_libtiff(compression: str, tmp_path: Path) -> None:
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "x.tif", compression=compression)
    picture = images.read(tmp_path / "x.tif")
    np.testing.assert_array_equal(picture.pixels, DEEP[..., [0, 0, 0]])
    assert picture.is_grey


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_tiff(order: str, photometric: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    grey = DEEP[..., 0]
    tifffile.imwrite(path, grey, photometric=photometric, byteorder=order)
    if (order, photometric) == (">", "miniswhite"):
        with pytest.raises(PictureError):
            images.read(path)  # not Pillow's, and so not ours
        return
    wanted = grey if photometric == "minisblack" else 65535 - grey
    np.testing.assert_array_equal(images.read(path).pixels[..., 1], wanted)


def test_premultiplied_alpha_becomes_straight(tmp_path: Path) -> None:
    alpha = np.full((150, 20), 20000, np.uint16)
    alpha[0] = 0
    scaled = np.rint(DEEP * (alpha[..., None] / 65535)).astype(np.uint16)
    both = np.dstack([scaled, alpha])
    tifffile.imwrite(tmp_path / "x.tif", both, photometric="rgb", extrasamples=["assocalpha"])
    picture = images.read(tmp_path / "x.tif")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    wanted = scaled[1:].astype(float) * 65535 / alpha[1:, :, None]
    np.testing.assert_allclose(picture.pixels[1:], wanted.clip(0, 65535), atol=0.51)
    assert (picture.pixels[0] == 0).all()


def test_a_sample_that_means_nothing_is_left_out(tmp_path: Path) -> None:
    both = np.dstack([DEEP, DEEP[..., 0]])
    tifffile.imwrite(tmp_path / "x.tif", both, photometric="rgb", extrasamples=["unspecified"])
    picture = images.read(tmp_path / "x.tif")
    np.testing.assert_array_equal(picture.pixels, DEEP)
    assert picture.alpha is None


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_a_png(channels: int, tmp_path: Path) -> None:
    samples = np.tile(DEEP[:9, :9, :1], (1, 1, channels))
    samples[4, 5] = 0x1234
    samples[4, 6] = 0x1235  # the same in 8 bits
    chunk = (b"tRNS", b"\x12\x34" * channels)
    (tmp_path / "x.png").write_bytes(files.png_file(samples, chunk))
    alpha = images.read(tmp_path / "x.png").alpha
    assert alpha is not None
    assert alpha.dtype == np.uint16
    assert np.argwhere(alpha == 0).tolist() == [[4, 5]]
    assert (np.delete(alpha.ravel(), 4 * 9 + 5) == 65535).all()


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (np.moveaxis(DEEP, 2, 0), {"planarconfig": "separate", "photometric": "rgb"}, "planes"),
        (DEEP[..., 0].astype(np.int16), {"photometric": "minisblack"}, "whole numbers, signed"),
        (DEEP[..., 0].astype(np.float32), {"photometric": "minisblack"}, "floating point"),
        (DEEP[..., [0, 0, 0, 0]], {"photometric": "separated"}, "16 bits, mode CMYK"),
    ],
)
def test_what_cannot_be_restored_faithfully(
    array: np.ndarray, options: dict[str, str], words: str, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "x.tif", array, **options)
    with pytest.raises(PictureError, match=rf"x\.tif: wanted grey or RGB of 8 bits.*{words}"):
        images.read(tmp_path / "x.tif")


def test_deep_netpbm_is_refused(tmp_path: Path) -> None:
    """Pillow reads it as 8 bits."""
    (tmp_path / "x.ppm").write_bytes(b"P6 2 2 65535 " + bytes(24))
    with pytest.raises(PictureError, match="16 bits, mode RGB"):
        images.read(tmp_path / "x.ppm")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_half_a_file(suffix: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    images.write(path, images.Picture(DEEP))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(PictureError, match="cannot read"):
        images.read(path)


@pytest.mark.parametrize(("flags", "bits"), [(0, 8), (0x40, 10), (0x60, 12)])
def test_avif_says_its_depth(flags: int, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "x.avif"
    images.write(path, images.Picture(np.zeros((16, 16, 3), np.uint8)))
    assert images.read(path).notes == ()
    content = bytearray(path.read_bytes())
    content[content.index(b"av1C") + 6] |= flags
    path.write_bytes(content)
    assert avif_bits(path) == bits


@pytest.mark.parametrize("name", ["x.tif", "x.png", "x.jpg", "x.webp"])
def test_the_limit_is_ours_not_pillows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tall = np.tile(DEEP, (6, 1, 1))
    images.write(tmp_path / name, images.Picture(tall))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2600)  # a strip has 2560
    assert images.read(tmp_path / name).pixels.shape == tall.shape
    assert Image.MAX_IMAGE_PIXELS == 2600
    with pytest.raises(PictureError, match=r"at most 0\.002 megapixels"):
        images.read(tmp_path / name, 2000)
