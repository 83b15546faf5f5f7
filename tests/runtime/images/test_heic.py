"""HEIC and HEIF. The files are made by pillow-heif's encoder, without loss."""

from pathlib import Path

import numpy as np
import pytest
from command import Command
from picture_files import exif_block, exif_fields
from PIL import Image

from lorair.runtime.errors import DependencyError, PictureError
from lorair.runtime.images import heic, read, write

pillow_heif = pytest.importorskip(
    "pillow_heif", reason="HEIC needs pillow-heif: pip install '.[heic]'"
)

LOSSLESS = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


def heif(path: Path, mode: str, values: np.ndarray, **options: object) -> Path:
    size = values.shape[1::-1]
    made = pillow_heif.from_bytes(mode, size, np.ascontiguousarray(values).tobytes())
    made.save(path, **{**LOSSLESS, **options})
    return path


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (48, 64, 4), np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_eight_bits(mode: str, values: np.ndarray, tmp_path: Path) -> None:
    channels = len(mode)
    found = read(heif(tmp_path / "a.heic", mode, values[..., :channels]))
    assert found.pixels.dtype == np.uint8
    assert (found.mode, found.notes) == (mode, ())
    colours = values[..., :1] if mode == "L" else values[..., :3]
    np.testing.assert_array_equal(found.pixels, np.broadcast_to(colours, (48, 64, 3)))
    if mode == "RGBA":
        np.testing.assert_array_equal(found.alpha, values[..., 3])


@pytest.mark.parametrize("bits", [10, 12])
def test_ten_and_twelve_bits_become_sixteen(bits: int, tmp_path: Path) -> None:
    most = 2**bits - 1
    deep = np.random.default_rng(7).integers(0, most + 1, (48, 64, 3)).astype(np.uint16)
    deep[0, 0], deep[0, 1] = 0, most
    shifted = deep << (16 - bits)
    path = heif(tmp_path / "a.hif", "RGB;16", shifted, bit_depth=bits)
    found = read(path)
    assert found.pixels.dtype == np.uint16
    np.testing.assert_array_equal(found.pixels, np.rint(deep / most * 65535))


def test_what_is_said_about_the_picture(values: np.ndarray, tmp_path: Path) -> None:
    """Libheif turns the picture by its own field; EXIF's orientation no longer holds."""
    path = tmp_path / "a.heic"
    image = pillow_heif.from_bytes("RGB", (64, 48), values[..., :3].tobytes())
    block, packet = exif_block(6, 64, 48), b"<x:xmpmeta tiff:Orientation='6'/>"
    image.save(path, exif=b"Exif\0\0" + block, xmp=packet, icc_profile=b"profile", **LOSSLESS)
    found = read(path)
    np.testing.assert_array_equal(found.pixels, np.rot90(values[..., :3], -1))
    assert found.metadata.icc_profile == b"profile"
    fields = exif_fields(found.metadata.exif or b"")
    assert fields["first", 274][1][:2] == b"\1\0"
    assert fields["exif", 37500] == exif_fields(block)["exif", 37500]
    assert b"'1'" in (found.metadata.xmp or b"")
    write(tmp_path / "a.png", found)
    assert read(tmp_path / "a.png").metadata.exif == found.metadata.exif


def test_what_is_lost_is_said(values: np.ndarray, tmp_path: Path) -> None:
    hlg = {"color_primaries": 9, "transfer_characteristics": 18}
    found = read(heif(tmp_path / "a.heic", "RGB", values[..., :3], **hlg))
    assert found.notes == ("the colour space (nclx 9/18) was dropped",)
    several = pillow_heif.from_bytes("RGB", (64, 48), values[..., :3].tobytes())
    several.add_frombytes("RGB", (64, 48), values[..., 1:].tobytes())
    several.save(tmp_path / "b.heic", **LOSSLESS)
    found = read(tmp_path / "b.heic")
    assert found.notes == ("only the main one of several pictures was read",)
    np.testing.assert_array_equal(found.pixels, values[..., :3])


def test_refused(values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heif(tmp_path / "a.heic", "RGB", values[..., :3])
    with pytest.raises(PictureError, match=r"at most 0\.001 megapixels"):
        read(path, 1000)
    for length in (40, 300, len(path.read_bytes()) - 2000):
        (tmp_path / "cut.heic").write_bytes(path.read_bytes()[:length])
        with pytest.raises(PictureError, match=r"cut\.heic"):
            read(tmp_path / "cut.heic")
    large = np.zeros((512, 512, 3), np.uint8)
    lies = bytearray(heif(tmp_path / "a.heic", "RGB", large).read_bytes())
    size = lies.index(b"ispe") + 8
    lies[size : size + 8] = bytes([0, 0, 0, 64] * 2)
    (tmp_path / "lies.heic").write_bytes(lies)
    with pytest.raises(PictureError, match=r"512x512 exceeds"):
        read(tmp_path / "lies.heic")
    monkeypatch.setattr(heic, "PACKAGE", "no_such_package")
    with pytest.raises(DependencyError, match=r"cannot read .*a\.heic.*\[heic\]'"):
        read(path)


def test_an_avif_is_no_heic(values: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(values[..., :3]).save(tmp_path / "a.avif")
    content = (tmp_path / "a.avif").read_bytes()
    assert not heic.is_heic(content[:256])
    content = (
        content[:8] + b"mif1" + content[12:]
    )  # the major brand; avif is among the compatible ones
    assert not heic.is_heic(content[:256])
    (tmp_path / "a.avif").write_bytes(content)
    assert read(tmp_path / "a.avif").pixels.shape == (48, 64, 3)


def test_infer(infer: Command, values: np.ndarray, tmp_path: Path) -> None:
    done = infer(heif(tmp_path / "a.heic", "RGB", values[..., :3]))
    assert done.code == 0, done.err
    with Image.open(tmp_path / "a.restored.png") as found:
        assert found.size == (64, 48)
