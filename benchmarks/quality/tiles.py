"""The cost of tiles in quality: pictures restored in tiles against the same restored at once."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lorair.benchmarks.quality.metrics import PEAK, Plane, psnr
from lorair.benchmarks.schema.quality import TileRow
from lorair.runtime import images
from lorair.runtime.pixels import Pixels
from lorair.runtime.restorer import Restorer
from lorair.runtime.routing.route import Route
from lorair.runtime.tiles import Tile


def measure(
    restorer: Restorer,
    pictures: Sequence[Path],
    sides: Sequence[int],
    rows: list[TileRow],
    done: Callable[[], None] = lambda: None,
) -> None:
    """Restore each RGB picture at once and in tiles of each side (pixels), under one route.

    rows: gets one for each picture and side; a picture no larger than a tile has none. done: called
    after each picture.
    """
    folder = os.path.commonpath([path.parent for path in pictures])
    for path in pictures:
        pixels = images.read(path).pixels.astype(np.float32) / np.float32(PEAK)
        route = restorer.route(pixels)
        whole, untiled_seconds = _restore(restorer, pixels, route, "off")
        height, width = pixels.shape[:2]
        name = path.relative_to(folder).as_posix()
        for side in (side for side in sides if max(height, width) > side):
            tiled, seconds = _restore(restorer, pixels, route, side)
            compared = {"psnr_db": psnr(tiled, whole), "seam": seam(tiled - whole)}
            times = {"seconds": seconds, "untiled_seconds": untiled_seconds}
            rows.append(
                TileRow(picture=name, width=width, height=height, tile=side, **compared, **times)
            )
        done()


def seam(difference: Plane) -> float:
    """Return the largest step of a difference (H, W, 3) between two neighbouring pixels.

    It is in the difference's unit: what varies slowly is no seam.
    """
    steps = (np.abs(np.diff(difference, axis=axis)) for axis in (0, 1))
    return max(float(step.max(initial=0.0)) for step in steps)


def _restore(restorer: Restorer, pixels: Pixels, route: Route, tile: Tile) -> tuple[Plane, float]:
    """The restored picture in levels of 255, and the seconds that it took."""
    start = time.perf_counter()
    image = restorer.restore(pixels, route, tile).image
    return image.astype(np.float64) * PEAK, time.perf_counter() - start
