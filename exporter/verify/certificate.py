"""The parity certificate: a bundle's pictures against PyTorch float32, on photographs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lorair.exporter.checkpoint.checkpoint import Modules
from lorair.exporter.model import Router
from lorair.exporter.verify.compare import (
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


def make_references(modules: Modules, photographs: Sequence[Path]) -> list[Reference]:
    """Run float32 modules on each photograph, of any size."""
    return [_reference(modules, path) for path in photographs]


def certify(
    backend: Backend,
    references: Sequence[Reference],
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
    backend: Backend, router: Router, pictures: Iterable[npt.NDArray[np.uint8]]
) -> RouteParity:
    """Compare a backend's routes of pictures (H, W, 3) with the float32 router's.

    Raises:
        VerificationError: another expert is chosen for some picture.
    """
    changes, cosines = 0, []
    for pixels in pictures:
        termination.check()
        views = make_views(pixels, router.side)
        with torch.inference_mode():
            _, prior, gates = (t.numpy() for t in router(torch.from_numpy(views)))
        _, found, found_gates = backend.route(views)
        changes += bool(((found_gates > 0) != (gates > 0)).any())
        cosines.append(cosine(found[0], prior[0]))
    if changes:
        raise VerificationError(
            "the quantized router chooses other experts",
            wanted="no change",
            found=f"{changes} of {len(cosines)} pictures changed",
            hint="nothing was written; build without --router-int8",
        )
    return RouteParity(pictures=len(cosines), changes=changes, prior_cosine=min(cosines))


def _reference(modules: Modules, path: Path) -> Reference:
    termination.check()
    pixels = images.to_uint8(images.read(path).pixels)
    router, net = modules
    planes = to_planes(pixels, net.stride)
    with torch.inference_mode():
        logits, prior, gates = router(torch.from_numpy(make_views(pixels, router.side)))
        restored = net(torch.from_numpy(planes), prior, gates[0])
    return reference_of(path.name, pixels, *(t.numpy() for t in (logits, prior, gates, restored)))
