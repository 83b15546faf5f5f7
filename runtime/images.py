"""Pictures: file to array and back."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from lorair.runtime.atomic import atomic_file
from lorair.runtime.errors import OutputError, PictureError

DEFAULT_MAX_PIXELS: Final = 200_000_000
MIN_PIXELS: Final = 2

WRITABLE: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

_COLOUR_MODES = {"RGB", "RGBA"}
_READABLE_MODES = _COLOUR_MODES | {"1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "La", "RGBa", "RGBX"}

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
            f"cannot read {file}", wanted="a picture", found="no such file"
        ) from None
    except UnidentifiedImageError:
        raise _unreadable(file, _kind(file)) from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _unreadable(file, f"damaged data ({error})") from error


def write(path: str | Path, picture: Picture) -> None:
    """Encode by the file's ending, atomically. Formats without alpha drop it.

    Raises:
        OutputError: an ending that is not in `WRITABLE`, or a place that cannot be written.
    """
    file = Path(path)
    check_format(file)
    image = Image.fromarray(picture.pixels)
    options: dict[str, Any] = {}
    suffix = file.suffix.lower()
    if picture.alpha is not None and suffix not in (".jpg", ".jpeg", ".bmp"):
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.icc_profile is not None:
        options["icc_profile"] = picture.icc_profile
    if suffix in (".jpg", ".jpeg"):
        options |= {"quality": 95, "subsampling": 0}
    elif suffix == ".webp":
        options |= {"quality": 95}
    with atomic_file(file) as partial:
        image.save(partial, **options)


def check_format(path: Path) -> None:
    """Raise OutputError if `write` knows no format by this ending."""
    if path.suffix.lower() not in WRITABLE:
        raise OutputError(
            f"cannot write {path}",
            wanted=f"one of the endings {', '.join(WRITABLE)}",
            found=path.suffix or "none",
        )


def check_size(width: int, height: int, max_pixels: float, name: str) -> None:
    """Raise PictureError if there is nothing to restore, or more than the limit."""
    pixels = width * height
    if pixels < MIN_PIXELS:
        raise PictureError(
            f"cannot restore {name}",
            wanted=f"at least {MIN_PIXELS} pixels",
            found=f"{width}x{height}",
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
        # A profile describes the file's own channels; converted ones have left it.
        icc_profile=image.info.get("icc_profile") if image.mode in _COLOUR_MODES else None,
        notes=notes,
    )


def _check_mode(image: Image.Image, file: Path) -> None:
    if image.mode not in _READABLE_MODES:
        raise PictureError(
            f"cannot restore {file}",
            wanted="8 bits a channel",
            found=f"Pillow's mode {image.mode}",
            hint="convert it to 8 bits first",
        )


def _notes(image: Image.Image) -> tuple[str, ...]:
    # Pillow decodes 16-bit colour to 8 bit without a word; the raw mode says so.
    if any("16" in str(tile) and ";16" in str(tile) for tile in getattr(image, "tile", ())):
        return ("16 bits a channel were read as 8",)
    return ()


def _open(file: Path) -> Image.Image:
    """Read the header with Pillow's size limit off; `check_size` follows.

    The limit is global, so it is restored at once, for the host's other uses.
    """
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
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
