"""HEIC and HEIF to picture, by pillow-heif: an extra, for its wheels hold libraries under GPL."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorair.runtime.errors import PictureError
from lorair.runtime.images import metadata
from lorair.runtime.images.picture import Picture, check_size
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import is_installed

ENDINGS: Final = frozenset((".heic", ".heif", ".hif"))
PACKAGE: Final = "pillow_heif"

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
# Of `nclx`: what is taken for sRGB as it is (BT.709, unknown), and the curves of HDR.
_USUAL_PRIMARIES, _HDR_CURVES = (1, 2), (16, 18)


def is_available() -> bool:
    """Whether such files can be read here."""
    return is_installed(PACKAGE)


def is_heic(head: bytes) -> bool:
    """Whether a file that begins so is HEIC or HEIF, and no AVIF, which shares its container."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[place : place + 4] for place in range(16, end, 4))}
    return head[4:8] == b"ftyp" and bool(brands & _BRANDS) and not brands & _AVIF_BRANDS


def read(file: Path, max_pixels: int) -> Picture:
    """Decode the main picture; 10 and 12 bits become 16. libheif has turned it upright.

    Raises:
        DependencyError: pillow-heif is not installed.
        PictureError: too large or too small, or its alpha is premultiplied.
        ValueError, OSError, RuntimeError: it is damaged.
    """
    require(f"read {file}", "heic", PACKAGE)
    import pillow_heif

    opened = pillow_heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    width, height = opened.size
    check_size(width, height, max_pixels, str(file))
    layout, _, depth = opened.mode.partition(";")
    if layout.endswith("a"):
        hint = "convert it first"
        raise PictureError(f"cannot restore {file}", found="premultiplied alpha", hint=hint)
    samples = _full_range(np.atleast_3d(np.asarray(opened)), int(depth or 8))
    colours = samples.shape[2] - layout.endswith("A")
    pixels = np.broadcast_to(samples[..., :colours], (*samples.shape[:2], 3))
    alpha = samples[..., -1] if layout.endswith("A") else None
    carrier = Image.new("1", (1, 1))
    carrier.info = dict(opened.info)
    found, lost = metadata.from_image(carrier, file, (width, height), 1)
    notes = (*_notes(opened), *lost)
    return Picture(np.ascontiguousarray(pixels), alpha, colours == 1, found, notes)


def _full_range(samples: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """8 bits as they are; more, stretched so that white stays white."""
    if bits == 8:
        return samples
    return ((samples.astype(np.uint32) * 65535 + (1 << bits) // 2) // ((1 << bits) - 1)).astype(
        np.uint16
    )


def _notes(opened: Any) -> list[str]:
    notes = []
    if len(opened) > 1:
        notes.append("only the main one of several pictures was read")
    numbers = opened.info.get("nclx_profile") or {}
    primaries, curve = (
        numbers.get(name, 2) for name in ("color_primaries", "transfer_characteristics")
    )
    is_usual = primaries in _USUAL_PRIMARIES and curve not in _HDR_CURVES
    if not is_usual and "icc_profile" not in opened.info:
        notes.append(f"the colour space (nclx {primaries}/{curve}) was dropped")
    return notes
