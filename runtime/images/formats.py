"""The formats that are written: what each can hold."""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from lorair.runtime.errors import OptionError, OutputError

DEFAULT_QUALITY: Final = 95


@dataclass(frozen=True)
class Format:
    """One format.

    name: Pillow's.
    endings: of its files; the first is what `--format` is called and makes.
    has_alpha, has_grey, has_depth: whether alpha, grey and 16 bits are written.
    has_metadata: whether EXIF, XMP and the colour profile are.
    is_lossy: whether a quality has a meaning.
    """

    name: str
    endings: tuple[str, ...]
    has_alpha: bool = True
    has_grey: bool = True
    has_depth: bool = False
    has_metadata: bool = True
    is_lossy: bool = False


FORMATS: Final = (
    Format("PNG", (".png",), has_depth=True),
    Format("JPEG", (".jpg", ".jpeg"), has_alpha=False, is_lossy=True),
    Format("WEBP", (".webp",), has_grey=False, is_lossy=True),
    Format("TIFF", (".tiff", ".tif"), has_depth=True),
    Format("BMP", (".bmp",), has_alpha=False, has_metadata=False),
    Format("AVIF", (".avif",), has_grey=False, is_lossy=True),
)
_BY_ENDING: Final = {ending: format_ for format_ in FORMATS for ending in format_.endings}

WRITABLE: Final = tuple(_BY_ENDING)
FORMAT_NAMES: Final = tuple(ending[1:] for ending in WRITABLE)

SAME: Final = "same"
"""Instead of a format: the picture's own, or PNG where that is not written."""

_SAME_AS: Final = {".jfif": "jpg", ".jpe": "jpg", ".mpo": "jpg"}


@dataclass(frozen=True)
class Encoding:
    """How pictures are written.

    format: one of `FORMAT_NAMES`, or `SAME`; None for what the file's ending says, PNG where we
        name it.
    quality: 1 to 100, for lossy formats; None for 95.

    Raises OptionError: no such format, or a quality where it has no meaning.
    """

    format: str | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in (*FORMAT_NAMES, SAME):
            wanted = f"one of {', '.join(FORMAT_NAMES)}, {SAME}"
            raise OptionError("--format", wanted=wanted, found=self.format)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise OptionError("--quality", wanted="1 to 100", found=str(self.quality))

    @property
    def ending(self) -> str:
        """Of the files that we name."""
        return f".{self.format or 'png'}"

    def like(self, source: PurePath) -> "Encoding":
        """What this means for a picture: `SAME` is its own format, with a quality if it has one."""
        if self.format != SAME:
            return self
        ending = source.suffix.lower()
        if ending in _BY_ENDING:
            is_lossy = _BY_ENDING[ending].is_lossy
            return Encoding(ending[1:], self.quality if is_lossy else None)
        found = _SAME_AS.get(ending, "png")
        return Encoding(found, self.quality if found == "jpg" else None)


def check_format(path: Path, encoding: Encoding = Encoding()) -> Format:
    """What `write` will make of a path.

    Raises:
        OutputError: no format has this ending.
        OptionError: the options mean another one.
    """
    found = _BY_ENDING.get(path.suffix.lower())
    if found is None:
        raise OutputError(
            f"cannot write {path}",
            wanted=f"one of the endings {', '.join(WRITABLE)}",
            found=path.suffix or "none",
            hint="name the output so",
        )
    if encoding.format is not None and encoding.ending not in found.endings:
        hint = "leave --format out, or name a folder with -o"
        wanted = f"the format of {path}"
        raise OptionError("--format", wanted=wanted, found=encoding.format, hint=hint)
    if encoding.quality is not None and not found.is_lossy:
        raise OptionError(
            "--quality",
            wanted="a lossy format (jpg, webp, avif)",
            found=f"{path.suffix}, which loses nothing",
            hint="leave it out, or choose --format jpg",
        )
    return found
