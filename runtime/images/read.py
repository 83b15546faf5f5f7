"""File to picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import (  # noqa: F401  (a plugin registers its format when it is imported)
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL.ExifTags import Base

from lorair.runtime.errors import LorairError, OutOfMemoryError, PictureError
from lorair.runtime.images import heic, metadata, structure
from lorair.runtime.images.decode import avif_bits, decode_deep, decode_shallow, deep_rawmode
from lorair.runtime.images.kinds import EXPORT_IT, is_other, is_raw, is_video
from lorair.runtime.images.picture import Picture, check_size, pillow_limit
from lorair.runtime.system.limits import DEFAULT_MAX_PIXELS

# A profile describes the file's own channels; CMYK and YCbCr leave theirs.
_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16B", "I;16L"}
_PROFILE_MODES = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA"} | _GREY_MODES
_READABLE_MODES = _PROFILE_MODES | {"CMYK", "YCbCr"}
_OTHER_MODES = {"I": "whole numbers, signed or of 32 bits", "F": "floating point"}

# What is documented, and nothing that would start another program (EPS).
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")

# What Pillow decodes in Python, value by value, at half a microsecond each.
_SLOW_CODECS, _SLOW_VALUES = ("bmp_rle", "ppm_plain"), 2**20


def read(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode a picture: upright, RGB, with its alpha, depth and metadata.

    The size is checked before anything is decoded. 16 bits a channel are the file's type,
    whatever values it holds.

    Raises:
        PictureError: missing, not a picture, damaged, too small or too large, or of a kind
            that cannot be restored faithfully.
        DependencyError: HEIC or HEIF, without the extra that reads it.
        OutOfMemoryError: there is no room for it.
    """
    file = Path(path)
    try:
        with pillow_limit.lifted():
            return _read(file, max_pixels)
    except LorairError:
        raise
    except MemoryError:
        raise OutOfMemoryError(
            f"no memory to read {file}", hint="lower --max-pixels, or read fewer pictures at once"
        ) from None
    except UnidentifiedImageError:
        raise _unidentified(file) from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _unreadable(file, f"damaged data ({error})") from error


def _read(file: Path, max_pixels: int) -> Picture:
    check_name(file)
    structure.check(file, max_pixels)
    with file.open("rb") as stream:
        if heic.is_heic(stream.read(256)):
            return heic.read(file, max_pixels)
    with _open(file) as image:
        check_size(image.width, image.height, max_pixels, str(file))
        bits, rawmode = _bits(image, file), deep_rawmode(image)
        _check_kind(image, file, bits, rawmode)
        is_grey = image.mode in _GREY_MODES or (rawmode or "").startswith("LA")
        keeps_profile = image.mode in _PROFILE_MODES
        notes = _notes(image, bits)
        if rawmode is not None:
            pixels, alpha, undone = decode_deep(image, rawmode, lambda: _open(file))
        else:
            pixels, alpha, undone = decode_shallow(image)
        found, lost = metadata.from_image(image, file, (pixels.shape[1], pixels.shape[0]), undone)
        if found.icc_profile is not None and not keeps_profile:
            found = replace(found, icc_profile=None)
            lost.append("the colour profile was dropped in the conversion to RGB")
        return Picture(pixels, alpha, is_grey, found, (*notes, *lost))


def check_name(file: Path) -> None:
    """Raise PictureError if there is no such file, or its ending says that it is no picture."""
    found, hint = "", ""
    if not file.exists():
        found, hint = "no such file", "check the path"
    elif is_raw(file):  # Pillow would take some for the thumbnail in them
        found, hint = "a camera's raw file", "develop it, and restore the TIFF or JPEG"
    elif is_video(file):
        found, hint = "a video", "lorair-run video restores it"
    if found:
        raise PictureError(f"cannot read {file}", wanted="a picture", found=found, hint=hint)


def _check_kind(image: ImageFile.ImageFile, file: Path, bits: int, rawmode: str | None) -> None:
    found = None
    if bits > 8 and _tiff_tag(image, Base.PlanarConfiguration) == 2:
        found = "more, in separate planes"  # which Pillow decodes wrongly
    elif image.mode not in _READABLE_MODES:
        found = _OTHER_MODES.get(image.mode, f"colours as {image.mode}")
    elif image.format != "AVIF" and (rawmode is not None) != (bits == 16):
        found = f"{bits} bits, mode {image.mode}"
    elif image.tile and image.tile[0].codec_name in _SLOW_CODECS:
        values = image.width * image.height * len(image.getbands())
        if values > _SLOW_VALUES or file.stat().st_size > 2**16 + 16 * values:
            found = "text or run lengths of more than a million values"
    if found is not None:
        raise PictureError(
            f"cannot restore {file}",
            wanted="grey or RGB of 8 bits a channel, or 16 in PNG or TIFF",
            found=found,
            hint="convert it first",
        )


def _notes(image: Image.Image, bits: int) -> list[str]:
    notes = []
    if image.format == "AVIF" and bits > 8:
        notes.append(f"{bits} bits a channel were read as 8")
    if getattr(image, "is_animated", False):  # n_frames would count them, one by one
        notes.append("only the first of several frames was read")
    if image.mode == "CMYK":
        notes.append("CMYK was converted to RGB without regard to inks; colours are approximate")
    return notes


def _bits(image: ImageFile.ImageFile, file: Path) -> int:
    """Bits a channel in the file; Pillow decodes deeper colour to 8 bits without a word."""
    tagged = _tiff_tag(image, Base.BitsPerSample)
    if tagged is not None:
        return max(tagged) if isinstance(tagged, tuple) else int(tagged)
    if image.format == "PPM":
        maximum = image.tile[0].args
        return 16 if isinstance(maximum, tuple) and maximum[-1] > 255 else 8
    if image.format == "AVIF":
        return avif_bits(file)
    return 16 if deep_rawmode(image) is not None else 8


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    return tags.get(tag) if tags is not None else None


def _open(file: Path) -> ImageFile.ImageFile:
    """Read the header; `check_size` follows."""
    return Image.open(file, formats=_FORMATS)


def _unidentified(file: Path) -> PictureError:
    size = file.stat().st_size
    if size == 0:
        return _unreadable(file, "an empty file")
    if is_other(file):
        return _unreadable(file, f"a {file.suffix} file", EXPORT_IT)
    with file.open("rb") as stream:
        is_tiff = stream.read(4) in (b"II*\0", b"MM\0*")
    if is_tiff:
        return _unreadable(file, "a TIFF of a rare kind", "export it with 8 or 16 bits a channel")
    return _unreadable(file, f"{size} byte{'s'[: size > 1]} of something else")


def _unreadable(
    file: Path, found: str, hint: str = "check the file or export it again"
) -> PictureError:
    return PictureError(
        f"cannot read {file}",
        wanted="a picture (PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC)",
        found=found,
        hint=hint,
    )
