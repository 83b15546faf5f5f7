"""How close a bundle's restorations come to the clean pictures."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from lorair.benchmarks.quality.datasets import PicturePair
from lorair.benchmarks.quality.metrics import WINDOW, Pixels, mean_scores, score
from lorair.benchmarks.quality.previews import preview
from lorair.benchmarks.schema.quality import Means, Picture
from lorair.runtime import images
from lorair.runtime.errors import PictureError
from lorair.runtime.restorer import Restored, Restorer
from lorair.runtime.routing.gates import Gates


def evaluate(
    restorer: Restorer,
    pairs: Sequence[PicturePair],
    gates: Gates | None = None,
    previewed: Collection[int] = (),
) -> Iterator[Picture]:
    """Restore and score each picture.

    gates: (E,) for every picture, instead of the router's. previewed: positions of the pictures
    that get a preview. Raises PictureError: one cannot be read, or its target has another size.
    """
    for position, pair in enumerate(pairs):
        degraded, clean = (
            images.to_uint8(images.read(f).pixels) for f in (pair.source, pair.target)
        )
        _check_sizes(pair.source, degraded, clean)
        found = _restore(restorer, degraded, gates)
        restored = found.image.astype(np.uint8)
        yield Picture(
            name=pair.name, width=clean.shape[1], height=clean.shape[0], route=found.route.top,
            before=score(degraded, clean), after=score(restored, clean),
            preview=preview(degraded, restored, clean) if position in previewed else None,
        )  # fmt: skip


def means(pictures: Sequence[Picture]) -> Means | None:
    """Return the means over all pictures; None without any."""
    if not pictures:
        return None
    before, after = ([getattr(p, when) for p in pictures] for when in ("before", "after"))
    return Means(before=mean_scores(before), after=mean_scores(after))


def group_means(pictures: Sequence[Picture], groups: Collection[str]) -> dict[str, Means]:
    """Return the means over the pictures of each group; empty if there is only one group."""
    if len(groups) < 2:
        return {}
    found = {g: means([p for p in pictures if p.name.startswith(f"{g}/")]) for g in groups}
    return {group: mean for group, mean in found.items() if mean is not None}


def _restore(restorer: Restorer, pixels: Pixels, gates: Gates | None) -> Restored:
    route = restorer.route(pixels).with_gates(gates) if gates is not None else None
    return restorer.restore(pixels, route)


def _check_sizes(source: Path, degraded: Pixels, clean: Pixels) -> None:
    what = f"cannot compare {source} with its target"
    size, other = (f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (degraded, clean))
    if size != other:
        raise PictureError(what, wanted=f"the same size, {size}", found=other)
    if min(degraded.shape[:2]) < WINDOW:
        wanted = f"sides of at least {WINDOW} pixels, SSIM's window"
        raise PictureError(what, wanted=wanted, found=size)
