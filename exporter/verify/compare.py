"""A backend's pictures against a reference's, and the limits. PyTorch is not needed here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorair.runtime import images
from lorair.runtime.backends import Backend
from lorair.runtime.bundle.manifest import PictureParity, Precision
from lorair.runtime.errors import OptionError
from lorair.runtime.pixels import make_views, to_planes

Array = npt.NDArray[np.float32]

_EQUAL_DB = 160.0


@dataclass(frozen=True)
class Limits:
    """What a bundle must keep to.

    max_error: largest absolute difference of a restored value; float32 bundles.
    min_psnr: in dB, against float32, after clamping; bundles of lower precision.
    No route may change in either.
    """

    max_error: float = 1e-4
    min_psnr: float = 50.0

    def __post_init__(self) -> None:
        for option, value in (("--max-error", self.max_error), ("--min-psnr", self.min_psnr)):
            if not math.isfinite(value):
                raise OptionError(
                    option, wanted="a number", found=str(value), hint="a large one asks for little"
                )

    def active(self, precision: Precision, *, quantized: bool = False) -> dict[str, float]:
        """Those that hold: float32 is measured by its error, all else by PSNR."""
        if precision == "fp32" and not quantized:
            return {"max_error": self.max_error, "route_changes": 0}
        return {"min_psnr_db": self.min_psnr, "route_changes": 0}


@dataclass(frozen=True, eq=False)
class Reference:
    """What a reference makes of one picture; `restored` is cropped to its size."""

    name: str
    pixels: npt.NDArray[np.uint8]
    logits: Array
    prior: Array
    gates: Array
    restored: Array


@dataclass(frozen=True)
class Compared:
    """A backend's picture beside the reference's.

    prior_cosine: between the two priors. is_finite: whether the restored values all are.
    """

    parity: PictureParity
    prior_cosine: float
    is_finite: bool


@dataclass(frozen=True)
class Violation:
    """A limit that is broken: what was wanted, what was found, and on which picture."""

    limit: str
    wanted: str
    found: str
    picture: str


def make_reference(backend: Backend, path: Path, side: int, stride: int) -> Reference:
    """Run a backend that others are compared with.

    Args:
        backend: the reference.
        path: a picture.
        side: of a router's view.
        stride: of the restoration network.
    """
    pixels = images.read(path).pixels
    logits, prior, gates = backend.route(make_views(pixels, side))
    restored = _restore(backend, pixels, prior, gates, stride)
    return Reference(path.name, pixels, logits, prior, gates, restored)


def compare(backend: Backend, wanted: Reference, side: int, stride: int) -> Compared:
    """Run a backend on a reference's picture and measure the difference.

    Args:
        backend: in question.
        wanted: what it should come to.
        side: of a router's view.
        stride: of the restoration network.
    """
    logits, prior, gates = backend.route(make_views(wanted.pixels, side))
    restored = _restore(backend, wanted.pixels, prior, gates, stride)
    height, width = wanted.pixels.shape[:2]
    parity = PictureParity(
        name=wanted.name,
        width=width,
        height=height,
        logits_error=_largest(logits, wanted.logits),
        prior_error=_largest(prior, wanted.prior),
        restored_error=_largest(restored, wanted.restored),
        psnr_db=psnr(restored.clip(0, 1), wanted.restored.clip(0, 1)),
        route_changed=bool(((gates > 0) != (wanted.gates > 0)).any()),
    )
    return Compared(parity, cosine(prior[0], wanted.prior[0]), bool(np.isfinite(restored).all()))


def violation(pictures: Sequence[PictureParity], limits: dict[str, float]) -> Violation | None:
    """The first limit that one or more pictures break; None if they are within all.

    Args:
        pictures: at least one.
        limits: of `Limits.active`.
    """
    worst = max(pictures, key=lambda p: p.restored_error)
    if worst.restored_error > limits.get("max_error", math.inf):
        wanted, found = f"{limits['max_error']:g}", f"{worst.restored_error:.2g}"
        return Violation("--max-error", wanted, found, worst.name)
    worst = min(pictures, key=lambda p: p.psnr_db)
    if worst.psnr_db < limits.get("min_psnr_db", -math.inf):
        wanted, found = f"{limits['min_psnr_db']:g} dB", f"{worst.psnr_db:.1f} dB"
        return Violation("--min-psnr", wanted, found, worst.name)
    changed = [p for p in pictures if p.route_changed]
    if len(changed) > limits["route_changes"]:
        return Violation("routes", "no change", f"{len(changed)} changed", changed[0].name)
    return None


def psnr(a: Array, b: Array) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; 160 stands for equal, 0 for NaN."""
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    if not np.isfinite(error):
        return 0.0
    return min(_EQUAL_DB, -10 * float(np.log10(max(error, 1e-16))))


def cosine(a: Array, b: Array) -> float:
    """Between two vectors; 0 if one of them is zero."""
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _restore(
    backend: Backend, pixels: npt.NDArray[np.uint8], prior: Array, gates: Array, stride: int
) -> Array:
    restored = backend.restore(to_planes(pixels, stride), prior, gates[0])
    height, width = pixels.shape[:2]
    return restored[:, :, :height, :width]


def _largest(found: Array, wanted: Array) -> float:
    error = float(np.abs(found - wanted).max())
    # A NaN anywhere is a failure, and JSON has no NaN.
    return error if np.isfinite(error) else 3.4e38
