"""The parity certificate: a bundle's pictures against PyTorch float32, on photographs."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lorair.exporter.checkpoint.checkpoint import Modules
from lorair.exporter.model import Router
from lorair.exporter.verify import MIN_COSINE
from lorair.exporter.verify.compare import (
    Array,
    Limits,
    Reference,
    compare,
    cosine,
    reference_of,
    violation,
)
from lorair.runtime import images
from lorair.runtime.backends import Backend
from lorair.runtime.bundle.manifest import Certificate, Manifest, RouteParity
from lorair.runtime.errors import VerificationError
from lorair.runtime.pixels import make_views, to_planes
from lorair.runtime.system import termination

_LEAST: Final = 3
"""Pictures whose routes are compared at least."""

_COST: Final = 3
"""Times that a route takes in float32, of the quantized router's."""


def make_references(modules: Modules, photographs: Iterable[Path]) -> list[Reference]:
    """Run float32 modules on each photograph, of any size."""
    return [_reference(modules, path) for path in photographs]


def certify(
    backend: Backend,
    references: Iterable[Reference],
    manifest: Manifest,
    limits: Limits,
    routes: RouteParity | None = None,
) -> Certificate:
    """Compare the backend of a bundle with the references, and check the bundle's limits.

    With `routes`, from `check_routes`, the router is quantized: pictures are then measured by
    PSNR whatever the precision.

    Raises:
        VerificationError: outside the limits, saying by how much and on which picture.
    """
    compared = (compare(backend, reference, manifest.model) for reference in references)
    pictures = tuple(one.parity for one in compared)
    certificate = Certificate(
        reference=f"PyTorch {torch.__version__} float32, CPU",
        backend=backend.description,
        max_error=max(p.restored_error for p in pictures),
        psnr_db=min(p.psnr_db for p in pictures),
        route_changes=sum(p.route_changed for p in pictures),
        limits=limits.active(manifest.precision, quantized=routes is not None),
        pictures=pictures,
        routes=routes,
    )
    broken = violation(pictures, certificate.limits)
    if broken is not None:
        raise VerificationError(
            f"the exported network differs from PyTorch ({broken.limit})",
            wanted=broken.wanted,
            found=f"{broken.found} on {broken.picture}",
            hint="nothing was written; try --fp32, or set the limit if the loss is acceptable",
        )
    return certificate


def check_routes(
    backend: Backend,
    router: Router,
    picture: Callable[[int], npt.NDArray[np.uint8]],
    count: int,
    report: Callable[[float, str], None] = lambda done, what: None,
) -> RouteParity:
    """Compare a backend's routes with the float32 router's, where they are most likely to differ.

    The backend routes all pictures. They are compared in the order of their margins, the least
    first, until the next margin is beyond twice what the largest error so far could bridge.

    Args:
        backend: with the quantized router.
        router: in float32.
        picture: by its number, (H, W, 3).
        count: how many there are.
        report: takes the fraction done and what is being done.

    Raises:
        VerificationError: another expert is chosen for some picture, or its prior is another.
    """

    def views(number: int) -> Array:
        return make_views(picture(number), router.side)

    total = count + _COST * min(count, _LEAST)
    found = []
    for number in range(count):
        report(number / total, f"route {number + 1} of {count}")
        found.append(_Route(*(array[0] for array in backend.route(views(number)))))
    margins = [_margin(route.logits, router.top_k) for route in found]
    bridged, changes = 0.0, 0
    cosines: list[float] = []
    for done, number in enumerate(sorted(range(count), key=margins.__getitem__)):
        if done >= _LEAST and margins[number] > 2 * bridged:
            break
        total = max(total, count + _COST * (done + 1))
        report((count + _COST * done) / total, f"compare {done + 1}")
        with torch.inference_mode():
            exact = _Route(*(t[0].numpy() for t in router(torch.from_numpy(views(number)))))
        route = found[number]
        bridged = max(bridged, 2 * float(np.abs(route.logits - exact.logits).max()))
        changes += bool(((route.gates > 0) != (exact.gates > 0)).any())
        cosines.append(cosine(route.prior, exact.prior))
    if changes:
        raise _unlike(
            "chooses other experts", "no change", f"{changes} of {len(cosines)} pictures changed"
        )
    if not min(cosines) >= MIN_COSINE:  # NaN is not either
        wanted = f"a cosine of {MIN_COSINE} to the float32 one"
        raise _unlike("gives another prior", wanted, f"{min(cosines):.5f}")
    return RouteParity(
        pictures=count, compared=len(cosines), changes=changes, prior_cosine=min(cosines)
    )


class _Route(NamedTuple):
    logits: Array
    prior: Array
    gates: Array


def _unlike(what: str, wanted: str, found: str) -> VerificationError:
    return VerificationError(
        f"the quantized router {what}",
        wanted=wanted,
        found=found,
        hint="nothing was written; build without --router-int8",
    )


def _margin(logits: Array, top_k: int) -> float:
    """By how much the last expert that is chosen is ahead of the next one."""
    if top_k == len(logits):
        return float("inf")
    ordered = np.sort(logits)[::-1]
    return float(np.nan_to_num(ordered[top_k - 1] - ordered[top_k]))


def _reference(modules: Modules, path: Path) -> Reference:
    termination.check()
    pixels = images.to_uint8(images.read(path).pixels)
    router, net = modules
    planes = to_planes(pixels, net.stride)
    with torch.inference_mode():
        logits, prior, gates = router(torch.from_numpy(make_views(pixels, router.side)))
        restored = net(torch.from_numpy(planes), prior, gates[0])
    return reference_of(path.name, pixels, *(t.numpy() for t in (logits, prior, gates, restored)))
