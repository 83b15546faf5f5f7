"""Pictures: file to array and back."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import (  # noqa: F401  (a plugin registers its format when it is imported)
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from lorair.runtime.atomic import atomic_file
from lorair.runtime.errors import OutputError, PictureError

DEFAULT_MAX_PIXELS: Final = 200_000_000
MIN_PIXELS: Final = 2

WRITABLE: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

# A profile describes the file's own channels; grey, CMYK and YCbCr leave theirs.
_PROFILE_MODES = {"RGB", "RGBA", "RGBX", "P", "PA"}
_READABLE_MODES = _PROFILE_MODES | {"1", "L", "LA", "CMYK", "YCbCr", "La", "RGBa"}

# What is documented, and nothing that would start another program (EPS).
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")

_TIFF_BITS, _TIFF_PLANAR = 258, 284

_pillow_limit = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as the restorer takes it.

    pixels: (H, W, 3) uint8 RGB, upright.
    alpha: (H, W) uint8, straight (not premultiplied), or None.
    icc_profile: the file's colour profile, which the pixels are in, or None.
    notes: what was lost in reading, for the user.
    """

    pixels: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None = None
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = field(default=())

    def with_pixels(self, pixels: npt.NDArray[np.uint8]) -> "Picture":
        """The same picture with other colours."""
        return replace(self, pixels=pixels)


def read(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode a picture: upright, RGB, 8 bit, with its alpha and colour profile.

    The size is checked before anything is decoded.

    Raises:
        PictureError: missing, not a picture, damaged, too small or too large.
    """
    file = Path(path)
    try:
        with _open(file) as image:
            check_size(image.width, image.height, max_pixels, str(file))
            _check_mode(image, file)
            notes = _notes(image)
            image.load()
            return _picture(ImageOps.exif_transpose(image), notes)
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(
            f"cannot read {file}", wanted="a picture", found="no such file", hint="check the path"
        ) from None
    except UnidentifiedImageError:
        raise _unreadable(file, _kind(file)) from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _unreadable(file, f"damaged data ({error})") from error


def write(path: str | Path, picture: Picture) -> tuple[str, ...]:
    """Encode by the file's ending, atomically.

    Returns:
        What was lost, for the user: a format without alpha drops it.

    Raises:
        OutputError: an ending that is not in `WRITABLE`, or a place that cannot be written.
    """
    file = Path(path)
    check_format(file)
    image = Image.fromarray(picture.pixels)
    options: dict[str, Any] = {}
    suffix = file.suffix.lower()
    has_alpha = picture.alpha is not None and suffix not in (".jpg", ".jpeg", ".bmp")
    if picture.alpha is not None and has_alpha:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.icc_profile is not None:
        options["icc_profile"] = picture.icc_profile
    if suffix in (".jpg", ".jpeg"):
        options |= {"quality": 95, "subsampling": 0}
    elif suffix == ".webp":
        options |= {"quality": 95}
    with atomic_file(file) as partial:
        try:
            image.save(partial, **options)
        except (ValueError, SyntaxError, RuntimeError) as error:
            raise OutputError(
                f"cannot write {file}",
                found=str(error),
                hint="another format, such as .png, may hold such a picture",
            ) from error
    return () if has_alpha or picture.alpha is None else (f"{suffix} has no alpha, it was dropped",)


def check_format(path: Path) -> None:
    """Raise OutputError if `write` knows no format by this ending."""
    if path.suffix.lower() not in WRITABLE:
        raise OutputError(
            f"cannot write {path}",
            wanted=f"one of the endings {', '.join(WRITABLE)}",
            found=path.suffix or "none",
            hint="name the output so",
        )


def check_size(width: int, height: int, max_pixels: float, name: str) -> None:
    """Raise PictureError if there is nothing to restore, or more than the limit."""
    pixels = width * height
    if pixels < MIN_PIXELS:
        raise PictureError(
            f"cannot restore {name}",
            wanted=f"at least {MIN_PIXELS} pixels",
            found=f"{width}x{height}",
            hint="give a larger picture",
        )
    if pixels > max_pixels:
        raise PictureError(
            f"cannot restore {name}",
            wanted=f"at most {max_pixels / 1e6:g} megapixels",
            found=f"{width}x{height}, {pixels / 1e6:.0f} megapixels",
            hint="raise the limit with --max-pixels if the file can be trusted",
        )


def _picture(image: Image.Image, notes: tuple[str, ...]) -> Picture:
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    alpha = np.asarray(image.convert("RGBA"))[..., 3].copy() if has_alpha else None
    return Picture(
        pixels=np.asarray(image.convert("RGB")).copy(),
        alpha=alpha,
        icc_profile=image.info.get("icc_profile") if image.mode in _PROFILE_MODES else None,
        notes=notes,
    )


def _check_mode(image: Image.Image, file: Path) -> None:
    found = f"Pillow's mode {image.mode}" if image.mode not in _READABLE_MODES else None
    if _bits(image) > 8 and _tiff_tag(image, _TIFF_PLANAR) == 2:
        found = "more, in separate planes"  # which Pillow decodes wrongly
    if found is not None:
        raise PictureError(
            f"cannot restore {file}",
            wanted="8 bits a channel",
            found=found,
            hint="convert it to 8 bits first",
        )


def _notes(image: Image.Image) -> tuple[str, ...]:
    notes = []
    if _bits(image) > 8:
        notes.append("16 bits a channel were read as 8")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"only the first of {frames} frames was read")
    if "icc_profile" in image.info and image.mode not in _PROFILE_MODES:
        notes.append("the colour profile was dropped in the conversion to RGB")
    return tuple(notes)


def _bits(image: Image.Image) -> int:
    """Bits a channel in the file; Pillow decodes 16-bit colour to 8 bits without a word."""
    tagged = _tiff_tag(image, _TIFF_BITS)
    if tagged is not None:
        return max(tagged) if isinstance(tagged, tuple) else int(tagged)
    return 16 if any(";16" in str(tile) for tile in getattr(image, "tile", ())) else 8


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    return tags.get(tag) if tags is not None else None


def _open(file: Path) -> Image.Image:
    """Read the header with Pillow's size limit off; `check_size` follows.

    The limit is global, so it is restored at once, for the host's other uses.
    """
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _kind(file: Path) -> str:
    size = file.stat().st_size
    return "an empty file" if size == 0 else f"{size} bytes of something else"


def _unreadable(file: Path, found: str) -> PictureError:
    return PictureError(
        f"cannot read {file}",
        wanted="a picture (PNG, JPEG, WebP, TIFF, BMP)",
        found=found,
        hint="check the file or export it again",
    )
