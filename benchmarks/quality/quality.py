"""How near the clean picture a bundle's restorations come."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lorair.benchmarks.quality.datasets import Pair
from lorair.benchmarks.quality.metrics import WINDOW, Pixels, Scores, mean_scores, score
from lorair.benchmarks.quality.previews import preview
from lorair.benchmarks.schema import Means, Preview
from lorair.runtime import images
from lorair.runtime.errors import PictureError
from lorair.runtime.restorer import Restored, Restorer
from lorair.runtime.routing.gates import Gates


@dataclass(frozen=True)
class Result:
    """One picture: how near the target it was before and after, and its route."""

    name: str
    group: str
    width: int
    height: int
    route: str
    before: Scores
    after: Scores
    preview: Preview | None = None


def evaluate(
    restorer: Restorer,
    pairs: Sequence[Pair],
    gates: Gates | None = None,
    previewed: Collection[int] = (),
) -> Iterator[Result]:
    """Restore and score each picture.

    Args:
        restorer: what restores.
        pairs: from `find_pairs`.
        gates: (E,) for every picture, instead of the router's.
        previewed: positions of the pictures that get a preview.

    Raises:
        PictureError: a picture that cannot be read, or whose target has another size.
    """
    for position, pair in enumerate(pairs):
        degraded, clean = (
            images.to_uint8(images.read(f).pixels) for f in (pair.source, pair.target)
        )
        _check_sizes(pair.source, degraded, clean)
        found = _restore(restorer, degraded, gates)
        restored = found.image.astype(np.uint8)
        height, width = clean.shape[:2]
        yield Result(
            pair.name,
            pair.group,
            width,
            height,
            found.route.top,
            score(degraded, clean),
            score(restored, clean),
            preview(degraded, restored, clean) if position in previewed else None,
        )


def means(results: Sequence[Result]) -> Means | None:
    """Over all pictures; None without any."""
    if not results:
        return None
    before = mean_scores([r.before for r in results])
    after = mean_scores([r.after for r in results])
    return Means.model_validate({"before": asdict(before), "after": asdict(after)})


def group_means(results: Sequence[Result]) -> dict[str, Means]:
    """Over the pictures of each group; empty if they are of one."""
    names = dict.fromkeys(r.group for r in results)
    if len(names) < 2:
        return {}
    found = {name: means([r for r in results if r.group == name]) for name in names}
    return {name: mean for name, mean in found.items() if mean is not None}


def _restore(restorer: Restorer, pixels: Pixels, gates: Gates | None) -> Restored:
    route = restorer.route(pixels).with_gates(gates) if gates is not None else None
    return restorer.restore(pixels, route)


def _check_sizes(source: Path, degraded: Pixels, clean: Pixels) -> None:
    height, width = degraded.shape[:2]
    if degraded.shape != clean.shape:
        raise PictureError(
            f"cannot compare {source} with its target",
            wanted=f"the same size, {width}x{height}",
            found=f"{clean.shape[1]}x{clean.shape[0]}",
        )
    if min(height, width) < WINDOW:
        raise PictureError(
            f"cannot compare {source} with its target",
            wanted=f"sides of at least {WINDOW} pixels, SSIM's window",
            found=f"{width}x{height}",
        )
