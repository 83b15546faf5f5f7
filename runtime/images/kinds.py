"""Files by their endings: what is read, and what is not, in words that a photographer knows."""

from pathlib import PurePath
from typing import Final

from lorair.runtime.images import heic
from lorair.runtime.images.formats import WRITABLE
from lorair.runtime.system.extras import install_command


def _endings(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


_READABLE: Final = frozenset(WRITABLE) | _endings("apng gif jfif jpe mpo pbm pgm pnm ppm")
_RAW: Final = _endings(
    "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl"
    " sr2 srf srw x3f"
)
_VIDEO: Final = _endings("3gp avi m2ts m4v mkv mov mp4 mpeg mpg mts ogv webm wmv")
_OTHER: Final = _endings(
    "ai bpg cur dds dib eps exr fits hdr icns ico im j2c j2k jp2 jpf jpx jxl jxr pcx pdf pfm psb"
    " psd qoi sgi svg tga wdp wmf xbm xcf xpm"
)

EXPORT_IT: Final = "export it as PNG or TIFF first"


def is_raw(path: PurePath) -> bool:
    """Whether it is a camera's raw file. Many are TIFF files of a thumbnail to others."""
    return path.suffix.lower() in _RAW


def is_video(path: PurePath) -> bool:
    """Whether it is a video."""
    return path.suffix.lower() in _VIDEO


def is_other(path: PurePath) -> bool:
    """Whether it is a picture of a kind that is not read, such as JPEG XL."""
    return path.suffix.lower() in _OTHER


def why_not(path: PurePath) -> str | None:
    """Why a file of a folder is not taken for a picture to restore; None if it is."""
    ending = path.suffix.lower()
    if ending in _READABLE:
        return None
    if ending in heic.ENDINGS:
        return None if heic.is_available() else f"{install_command('heic')} brings what reads it"
    if ending in _RAW:
        return "raw: develop it first"
    if ending in _VIDEO:
        return "a video: lorair-run video restores it"
    return EXPORT_IT if is_other(path) else "no picture"
