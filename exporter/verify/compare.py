"""Comparing a backend's pictures with a reference's, and the limits. Needs no PyTorch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lorair.exporter.verify import MAX_ERROR, MIN_PSNR
from lorair.runtime.backends import Backend
from lorair.runtime.bundle.manifest import ModelInfo, PictureParity, Precision
from lorair.runtime.errors import OptionError
from lorair.runtime.pixels import make_views, to_planes
from lorair.runtime.system import termination

Array = npt.NDArray[np.float32]

EQUAL_DB: Final = 160.0


@dataclass(frozen=True)
class Limits:
    """What a bundle must keep to.

    max_error: largest absolute difference of a restored value; float32 bundles.
    min_psnr: in dB, against float32, after clamping; bundles of lower precision.
    No route may change in either.
    """

    max_error: float = MAX_ERROR
    min_psnr: float = MIN_PSNR

    def __post_init__(self) -> None:
        for option, value in (("--max-error", self.max_error), ("--min-psnr", self.min_psnr)):
            if not math.isfinite(value):
                raise OptionError(
                    option, wanted="a number", found=str(value), hint="a large one asks for little"
                )

    def active(self, precision: Precision, *, quantized: bool = False) -> dict[str, float]:
        """Return the limits that hold: float32 is measured by its error, all else by PSNR."""
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
    """A broken limit: what was wanted, what was found, and on which picture."""

    limit: str
    wanted: str
    found: str
    picture: str


def run(backend: Backend, name: str, pixels: npt.NDArray[np.uint8], model: ModelInfo) -> Reference:
    """Return what a backend makes of a picture (H, W, 3), whose name it gets."""
    termination.check()
    logits, prior, gates = backend.route(make_views(pixels, model.clip_side))
    restored = backend.restore(to_planes(pixels, model.stride), prior, gates[0])
    return reference_of(name, pixels, logits, prior, gates, restored)


def reference_of(name: str, pixels: npt.NDArray[np.uint8], *results: Array) -> Reference:
    """Return a picture (H, W, 3) with its logits, prior, gates and restored planes, cropped."""
    logits, prior, gates, restored = results
    height, width = pixels.shape[:2]
    return Reference(name, pixels, logits, prior, gates, restored[:, :, :height, :width])


def compare(backend: Backend, wanted: Reference, model: ModelInfo) -> Compared:
    """Run a backend on a reference's picture and measure the difference."""
    found = run(backend, wanted.name, wanted.pixels, model)
    height, width = wanted.pixels.shape[:2]
    parity = PictureParity(
        name=wanted.name,
        width=width,
        height=height,
        logits_error=_largest(found.logits, wanted.logits),
        prior_error=_largest(found.prior, wanted.prior),
        restored_error=_largest(found.restored, wanted.restored),
        psnr_db=psnr(found.restored.clip(0, 1), wanted.restored.clip(0, 1)),
        route_changed=bool(((found.gates > 0) != (wanted.gates > 0)).any()),
    )
    is_finite = bool(np.isfinite(found.restored).all())
    return Compared(parity, cosine(found.prior[0], wanted.prior[0]), is_finite)


def violation(pictures: Sequence[PictureParity], limits: dict[str, float]) -> Violation | None:
    """Return the first limit of `Limits.active` that a picture breaks; None if all are kept."""
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


def psnr(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB, over all values (from 0 to `peak`) together.

    It is at most 160, which stands for equal arrays, as JSON has no infinity; 0 for NaN.
    """
    error = float(np.mean(np.square(a.astype(np.float64) - b))) / peak**2
    if not np.isfinite(error):
        return 0.0
    return min(EQUAL_DB, -10 * float(np.log10(max(error, 1e-16))))


def cosine(a: Array, b: Array) -> float:
    """Return the cosine between two vectors; 0 if one of them is zero."""
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _largest(found: Array, wanted: Array) -> float:
    error = float(np.abs(found - wanted).max())
    # A NaN anywhere is a failure, and JSON has no NaN.
    return error if np.isfinite(error) else 3.4e38
