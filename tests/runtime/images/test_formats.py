"""Everything that goes in against everything that comes out."""

import io
import itertools
import zlib
from pathlib import Path

import numpy as np
import picture_files as files
import pytest
import tifffile
from PIL import Image, ImageCms, JpegImagePlugin

from lorair.runtime import images
from lorair.runtime.errors import OptionError

H, W = 11, 14
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">lorair \xc3\xa9</x:xmpmeta>'
XMP_PNG = b"XML:com.adobe.xmp" + bytes(5) + XMP
MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
# Channels of each mode as a restorer's RGB.
RGB = {"L": [0, 0, 0], "LA": [0, 0, 0], "RGB": [0, 1, 2], "RGBA": [0, 1, 2]}


def samples(mode: str, depth: int, dark: bool = False) -> np.ndarray:
    """(H, W, channels); of a dark picture every value would fit into 8 bits."""
    rng = np.random.default_rng([depth, MODES[mode]])
    highest = 200 if dark else 2**depth
    return rng.integers(0, highest, (H, W, MODES[mode]), f"u{depth // 8}")


def save(path: Path, pixels: np.ndarray, orientation: int = 1, metadata: bool = True) -> None:
    """What another program would write; lossless."""
    at_rest = files.stored(pixels, orientation)
    exif = files.exif_block(orientation, at_rest.shape[1], at_rest.shape[0])
    if path.suffix == ".png":
        chunks = [(b"eXIf", exif), (b"iTXt", XMP_PNG)] if metadata else []
        content = files.png_file(at_rest, *chunks)
        if metadata:
            content = _with_profile(content)
        path.write_bytes(content)
    elif path.suffix == ".tif":
        _save_tiff(path, at_rest, orientation, metadata)
    else:
        flat = at_rest[..., 0] if at_rest.shape[2] == 1 else at_rest
        extra = {"exif": b"Exif\0\0" + exif, "xmp": XMP, "icc_profile": ICC} if metadata else {}
        Image.fromarray(flat).save(path, lossless=True, quality=100, exact=True, **extra)


def _with_profile(content: bytes) -> bytes:
    """Compressed as iCCP wants it; Pillow's chunk is as good as any."""
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, "PNG", icc_profile=ICC)
    (chunk,) = (c for c in files.png_chunks(out.getvalue()) if c[0] == b"iCCP")
    return content[:33] + files.png_chunk(*chunk) + content[33:]


def _save_tiff(path: Path, pixels: np.ndarray, orientation: int, metadata: bool) -> None:
    tags = [(274, "H", 1, orientation, True)]
    if metadata:
        tags += [(271, "s", 0, "A maker of cameras", True), (700, "B", len(XMP), XMP, True)]
    grey = pixels.shape[2] < 3
    tifffile.imwrite(
        path,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        photometric="minisblack" if grey else "rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"] if pixels.shape[2] in (2, 4) else None,
        extratags=tags,
        iccprofile=ICC if metadata else None,
        compression="zlib",
    )


SOURCES = [
    *itertools.product([".png"], MODES, [8, 16], [False]),
    *itertools.product([".png"], MODES, [16], [True]),
    *itertools.product([".tif"], ["L", "RGB", "RGBA"], [8, 16], [False]),
    *itertools.product([".tif"], ["L", "RGB", "RGBA"], [16], [True]),
    (".tif", "LA", 8, False),
    (".webp", "RGB", 8, False),
    (".webp", "RGBA", 8, False),
]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("suffix", "mode", "depth", "dark"), SOURCES)
def test_what_goes_in_comes_out(
    suffix: str, mode: str, depth: int, dark: bool, orientation: int, tmp_path: Path
) -> None:
    wanted = samples(mode, depth, dark)
    save(tmp_path / f"in{suffix}", wanted, orientation)
    picture = images.read(tmp_path / f"in{suffix}")
    assert picture.notes == ()
    assert picture.pixels.dtype == wanted.dtype
    assert picture.is_grey == mode.startswith("L")
    np.testing.assert_array_equal(picture.pixels, wanted[..., RGB[mode]])
    assert (picture.alpha is not None) == mode.endswith("A")
    assert picture.alpha is None or (picture.alpha == wanted[..., -1]).all()
    for ending in (".png", ".tiff", ".jpg", ".webp", ".bmp", ".avif"):
        path = tmp_path / f"out{ending}"
        notes = images.write(path, picture)
        has_depth, has_alpha = ending in (".png", ".tiff"), ending not in (".jpg", ".bmp")
        has_grey = ending not in (".webp", ".avif")
        content = {"alpha": picture.alpha is not None and not has_alpha}
        content["16 bits"] = depth == 16 and not has_depth
        content["grey colour profile"] = picture.is_grey and not has_grey
        content["EXIF"] = content["XMP"] = ending == ".bmp"
        content[" colour profile"] = ending == ".bmp" or content["grey colour profile"]
        for word, is_lost in content.items():
            assert any(word in note for note in notes) == is_lost, (ending, word, notes)
        kept = wanted[..., :-1] if mode.endswith("A") and not has_alpha else wanted
        found = load(path)
        if has_depth:
            assert found.dtype.itemsize == wanted.itemsize
            if ending == ".tiff" and (mode, depth) == ("LA", 16):
                kept = kept[..., [0, 0, 0, 1]]
            np.testing.assert_array_equal(found, kept)
            again = images.read(path)
            np.testing.assert_array_equal(again.pixels, picture.pixels)
            assert (again.alpha is None) == (picture.alpha is None)
            assert again.alpha is None or (again.alpha == picture.alpha).all()
        else:
            assert found.dtype == np.uint8
            colours = kept.shape[2] if has_grey else 3 + mode.endswith("A")
            assert found.shape == (H, W, colours)
        check_metadata(path, suffix, picture.is_grey and not has_grey)


def load(path: Path) -> np.ndarray:
    """(H, W, channels), by another reader."""
    if path.suffix == ".png":
        return files.png_samples(path.read_bytes())
    if path.suffix == ".tiff":
        values = tifffile.imread(path)
    else:
        with Image.open(path) as image:
            values = np.asarray(image)
    return values if values.ndim == 3 else values[..., None]


def check_metadata(path: Path, source: str, profile_is_lost: bool) -> None:
    exif, xmp, icc = metadata_of(path)
    if path.suffix == ".bmp":
        return
    assert xmp == XMP
    assert icc == (None if profile_is_lost else ICC)
    assert exif is not None
    fields = files.exif_fields(exif)
    assert fields["first", 271][1] == b"A maker of cameras\0"
    if source == ".tif":
        return  # whose sub-directories have a test of their own
    wanted = files.exif_fields(files.exif_block(1, W, H))
    wanted = {k: v for k, v in wanted.items() if k[0] != "thumbnail"}
    if path.suffix == ".avif":  # whose encoder writes the block anew, without an orientation
        assert wanted.keys() - fields.keys() == {("first", 274)}
        assert fields["exif", 37500][1] == wanted["exif", 37500][1]
        return
    for name, value in wanted.items():
        assert fields[name] == value or name[1] == 34665, name
    assert not any(directory == "thumbnail" for directory, _ in fields)
    assert b"\xff\xd8old\xff\xd9" not in exif


def metadata_of(path: Path) -> tuple[bytes | None, bytes | None, bytes | None]:
    """EXIF block, XMP, ICC; taken out of the file by hand where that is simple."""
    content = path.read_bytes()
    if path.suffix == ".png":
        chunks = dict(files.png_chunks(content))
        (xmp,) = (d for k, d in files.png_chunks(content) if d.startswith(b"XML:com"))
        icc = chunks.get(b"iCCP")
        profile = None if icc is None else zlib.decompress(icc.split(b"\0\0", 1)[1])
        return chunks[b"eXIf"], xmp[len(b"XML:com.adobe.xmp") + 5 :], profile
    if path.suffix == ".tiff":
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages[0].tags
            return content, tags[700].value, tags[34675].value
    if path.suffix == ".jpg":
        found = files.jpeg_segments(content)
        icc = found.get(b"ICC_PROFILE")
        exif = found[b"Exif"].removeprefix(b"\0")
        return exif, found[b"http://ns.adobe.com/xap/1.0/"], icc and icc[2:]
    if path.suffix == ".webp":
        chunks = files.webp_chunks(content)
        return chunks[b"EXIF"], chunks[b"XMP "], chunks.get(b"ICCP")
    with Image.open(path) as image:
        exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
        return exif or None, image.info.get("xmp"), image.info.get("icc_profile")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_orientation(suffix: str, depth: int, orientation: int, tmp_path: Path) -> None:
    wanted = samples("RGBA", depth)
    save(tmp_path / f"x{suffix}", wanted, orientation)
    picture = images.read(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(np.dstack([picture.pixels, picture.alpha]), wanted)


def test_sixteen_bits_are_rounded_not_cut() -> None:
    values = np.arange(65536, dtype=np.uint16)
    exact = np.rint(values.astype(np.float64) * 255 / 65535)
    np.testing.assert_array_equal(images.to_uint8(values), exact)


def test_restored_grey_is_luma(tmp_path: Path) -> None:
    pixels = samples("RGB", 16)
    images.write(tmp_path / "x.png", images.Picture(pixels, is_grey=True))
    wanted = np.rint(pixels.astype(np.float64) @ [0.299, 0.587, 0.114])
    np.testing.assert_array_equal(load(tmp_path / "x.png")[..., 0], wanted)


def test_quality_changes_the_size(photo: np.ndarray, tmp_path: Path) -> None:
    for ending in ("jpg", "webp", "avif"):
        path, sizes = tmp_path / f"x.{ending}", []
        for quality in (20, 90):
            images.write(path, images.Picture(photo), images.Encoding(quality=quality))
            sizes.append(path.stat().st_size)
        assert sizes[0] * 2 < sizes[1]


@pytest.mark.parametrize(
    ("name", "encoding", "words"),
    [
        ("x.png", {"quality": 90}, "--quality: wanted a lossy format"),
        ("x.jpg", {"quality": 0}, "--quality: wanted 1 to 100, found 0"),
        ("x.jpg", {"format": "gif"}, "--format: wanted one of png, jpg"),
        ("x.jpg", {"format": "png"}, r"--format: wanted the format of .*x\.jpg, found png"),
    ],
)
def test_options_that_cannot_be(
    name: str, encoding: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        images.write(
            tmp_path / name, images.Picture(samples("RGB", 8)), images.Encoding(**encoding)
        )
    assert list(tmp_path.iterdir()) == []


def test_formats_have_several_endings(tmp_path: Path) -> None:
    for name in ("x.jpeg", "x.tif", "x.JPG"):
        kind = "tiff" if "tif" in name else "jpg"
        images.write(tmp_path / name, images.Picture(samples("RGB", 8)), images.Encoding(kind))
        assert (tmp_path / name).exists()


def test_strips_of_a_deep_png_meet(tmp_path: Path) -> None:
    tall = np.tile(samples("RGB", 16), (30, 1, 1))
    images.write(tmp_path / "x.png", images.Picture(tall))
    np.testing.assert_array_equal(load(tmp_path / "x.png"), tall)


def test_lossy_formats_lose_what_they_must_only(photo: np.ndarray, tmp_path: Path) -> None:
    hidden = images.Picture(photo, np.zeros(photo.shape[:2], np.uint8))
    images.write(tmp_path / "x.webp", hidden)
    assert np.abs(load(tmp_path / "x.webp")[..., :3].astype(int) - photo).mean() < 5
    images.write(tmp_path / "x.jpg", hidden)
    with Image.open(tmp_path / "x.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # colour at full resolution
