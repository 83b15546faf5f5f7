"""Parity: a bundle's pictures against PyTorch float32, on real photographs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lorair.exporter.model import RestorationNet, Router
from lorair.runtime import images
from lorair.runtime.backends import Backend
from lorair.runtime.bundle import Certificate, PictureParity, Precision, RouteParity
from lorair.runtime.errors import OptionError, VerificationError
from lorair.runtime.planes import to_planes
from lorair.runtime.views import make_views

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


@dataclass(frozen=True, eq=False)
class Reference:
    """What PyTorch float32 makes of one picture; `restored` is cropped to its size."""

    name: str
    pixels: npt.NDArray[np.uint8]
    logits: Array
    prior: Array
    gates: Array
    restored: Array


def make_references(
    router: Router, net: RestorationNet, photographs: Sequence[Path], side: int
) -> list[Reference]:
    """Run float32 modules on each photograph.

    Args:
        router: in float32.
        net: in float32.
        photographs: files of any size.
        side: of a router's view.
    """
    return [_reference(router, net, path, side) for path in photographs]


def certify(
    backend: Backend,
    references: Sequence[Reference],
    side: int,
    stride: int,
    precision: Precision,
    limits: Limits,
    routes: RouteParity | None = None,
) -> Certificate:
    """Compare a backend with the references and check the limits.

    Args:
        backend: of the bundle.
        references: what it should come to.
        side: of a router's view.
        stride: of the restoration network.
        precision: of the bundle.
        limits: that it must keep to.
        routes: from `check_routes` if the router is quantized; the pictures are then
            measured by PSNR whatever the precision.

    Raises:
        VerificationError: outside the limits, saying by how much and on which picture.
    """
    pictures = tuple(_compare(backend, reference, side, stride) for reference in references)
    certificate = Certificate(
        reference=f"PyTorch {torch.__version__} float32, CPU",
        backend=backend.description,
        max_error=max(p.restored_error for p in pictures),
        psnr_db=min(p.psnr_db for p in pictures),
        route_changes=sum(p.route_changed for p in pictures),
        limits=_active(limits, precision, quantized=routes is not None),
        pictures=pictures,
        routes=routes,
    )
    _check(certificate)
    return certificate


def check_routes(
    backend: Backend, router: Router, pictures: Iterable[npt.NDArray[np.uint8]], side: int
) -> RouteParity:
    """Compare a backend's routes with the float32 router's.

    Args:
        backend: whose router is checked.
        router: in float32.
        pictures: (H, W, 3).
        side: of a router's view.

    Raises:
        VerificationError: another expert is chosen for some picture.
    """
    changes, cosines = 0, []
    for pixels in pictures:
        views = make_views(pixels, side)
        with torch.inference_mode():
            _, prior, gates = (t.numpy() for t in router(torch.from_numpy(views)))
        _, found, found_gates = backend.route(views)
        changes += bool(((found_gates > 0) != (gates > 0)).any())
        cosines.append(_cosine(found[0], prior[0]))
    if changes:
        raise VerificationError(
            "the quantized router chooses other experts",
            wanted="no change",
            found=f"{changes} of {len(cosines)} pictures changed",
            hint="nothing was written; build without --router-int8",
        )
    return RouteParity(pictures=len(cosines), changes=changes, prior_cosine=min(cosines))


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def psnr(a: Array, b: Array) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; 160 stands for equal, 0 for NaN."""
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    if not np.isfinite(error):
        return 0.0
    return min(_EQUAL_DB, -10 * float(np.log10(max(error, 1e-16))))


def _reference(router: Router, net: RestorationNet, path: Path, side: int) -> Reference:
    pixels = images.read(path).pixels
    planes = to_planes(pixels, net.stride)
    with torch.inference_mode():
        logits, prior, gates = router(torch.from_numpy(make_views(pixels, side)))
        restored = net(torch.from_numpy(planes), prior, gates[0])
    height, width = pixels.shape[:2]
    cropped = restored[:, :, :height, :width].numpy()
    return Reference(path.name, pixels, logits.numpy(), prior.numpy(), gates.numpy(), cropped)


def _compare(backend: Backend, wanted: Reference, side: int, stride: int) -> PictureParity:
    logits, prior, gates = backend.route(make_views(wanted.pixels, side))
    restored = backend.restore(to_planes(wanted.pixels, stride), prior, gates[0])
    height, width = wanted.pixels.shape[:2]
    restored = restored[:, :, :height, :width]
    return PictureParity(
        name=wanted.name,
        width=width,
        height=height,
        logits_error=_largest(logits, wanted.logits),
        prior_error=_largest(prior, wanted.prior),
        restored_error=_largest(restored, wanted.restored),
        psnr_db=psnr(restored.clip(0, 1), wanted.restored.clip(0, 1)),
        route_changed=bool(((gates > 0) != (wanted.gates > 0)).any()),
    )


def _largest(found: Array, wanted: Array) -> float:
    error = float(np.abs(found - wanted).max())
    # A NaN anywhere is a failure, and JSON has no NaN.
    return error if np.isfinite(error) else 3.4e38


def _active(limits: Limits, precision: Precision, *, quantized: bool) -> dict[str, float]:
    if precision == "fp32" and not quantized:
        return {"max_error": limits.max_error, "route_changes": 0}
    return {"min_psnr_db": limits.min_psnr, "route_changes": 0}


def _check(certificate: Certificate) -> None:
    limits, pictures = certificate.limits, certificate.pictures
    worst = max(pictures, key=lambda p: p.restored_error)
    if worst.restored_error > limits.get("max_error", math.inf):
        raise _beyond(
            "--max-error", f"{limits['max_error']:g}", f"{worst.restored_error:.2g}", worst
        )
    worst = min(pictures, key=lambda p: p.psnr_db)
    if worst.psnr_db < limits.get("min_psnr_db", -math.inf):
        raise _beyond(
            "--min-psnr", f"{limits['min_psnr_db']:g} dB", f"{worst.psnr_db:.1f} dB", worst
        )
    changed = [p for p in pictures if p.route_changed]
    if len(changed) > limits["route_changes"]:
        raise _beyond("routes", "no change", f"{len(changed)} changed", changed[0])


def _beyond(what: str, wanted: str, found: str, picture: PictureParity) -> VerificationError:
    return VerificationError(
        f"the exported network differs from PyTorch ({what})",
        wanted=wanted,
        found=f"{found} on {picture.name}",
        hint="nothing was written; try --fp32, or set the limit if the loss is acceptable",
    )
