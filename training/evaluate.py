"""The default model's numbers: `python -m training.evaluate --bundle BUNDLE`.

On held-out photographs, through the product's own path: clean ones at full size; each
weather's PSNR and SSIM before and after, and under every expert; the router's accuracy.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lorair.benchmarks.quality.metrics import psnr, score
from lorair.runtime.restorer import Restorer
from lorair.runtime.routing.gates import one_expert
from training.degradations import CLASSES, CLEAN
from training.pairs import DEFAULT_SEEDS, PHOTOS, Pixels, generator, held_out, pairs, pieces
from training.scenes import HELD_OUT_PHOTOS

_FULL_SIZE = 12.0
"""Megapixels of the largest clean photograph."""

_PIECES = 50
"""Of photographs, in every class, that the router's accuracy is measured on."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("lorair-bundle"))
    parser.add_argument("--seeds", type=int, default=DEFAULT_SEEDS)
    parser.add_argument("--photos", nargs="+", default=PHOTOS)
    parser.add_argument("--weather", type=Path, help="another generator's file")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    restorer, photos = Restorer.open(options.bundle), tuple(options.photos)
    weather = pairs(options.seeds, photos, generator(options.weather))
    numbers = {
        "clean": leave_alone(restorer, photos),
        "weather": restore(restorer, (pair for pair in weather if pair[0] != CLEAN)),
        "router": route(restorer, pieces(_PIECES, photos)),
    }
    text = json.dumps(numbers, indent=2)
    print(text)
    if options.report:
        options.report.write_text(text + "\n", "utf-8")


def leave_alone(
    restorer: Restorer, photos: tuple[str, ...] = HELD_OUT_PHOTOS, megapixels: float = _FULL_SIZE
) -> dict[str, Any]:
    """Clean photographs: mean and least PSNR to themselves, share routed `clean`, and each."""
    rows: dict[str, dict[str, Any]] = {}
    for photo in photos:
        clean = held_out(photo, megapixels)
        restored = restorer.restore(clean)
        rows[photo] = {
            "size": clean.shape[:2],
            "route": restored.route.top,
            "psnr": _psnr(restored.image, clean),
        }
    found = [row["psnr"] for row in rows.values()]
    routed = [row["route"] == CLEAN for row in rows.values()]
    return {
        "mean_psnr": float(np.mean(found)),
        "least_psnr": min(found),
        "routed_clean": float(np.mean(routed)),
        "photographs": rows,
    }


def restore(
    restorer: Restorer, weather: Iterable[tuple[str, str, Pixels, Pixels]]
) -> dict[str, Any]:
    """Each weather's summary, see `summarise`."""
    rows = defaultdict(list)
    for kind, name, degraded, clean in weather:
        rows[kind].append({"name": name, **_measure(restorer, degraded, clean)})
    return {kind: summarise(found) for kind, found in rows.items()}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of one class.

    Returns:
        pictures; psnr and ssim, each before and after; gain: mean, least and of which
        picture, in dB; routes; by_expert: mean PSNR.
    """
    gains = {row["name"]: row["psnr"][1] - row["psnr"][0] for row in rows}
    worst = min(gains, key=gains.__getitem__)
    return {
        "pictures": len(rows),
        "psnr": np.mean([row["psnr"] for row in rows], axis=0).tolist(),
        "ssim": np.mean([row["ssim"] for row in rows], axis=0).tolist(),
        "gain": float(np.mean(list(gains.values()))),
        "least_gain": gains[worst],
        "least_gain_of": worst,
        "routes": dict(Counter(row["route"] for row in rows)),
        "by_expert": {
            name: float(np.mean([row["by_expert"][name] for row in rows])) for name in CLASSES
        },
    }


def route(restorer: Restorer, pictures: Iterable[tuple[str, Pixels]]) -> dict[str, Any]:
    """The share of pictures routed to their class, and what each class is routed to."""
    routes: dict[str, Counter[str]] = {name: Counter() for name in CLASSES}
    for kind, pixels in pictures:
        routes[kind][restorer.route(pixels).top] += 1
    right = sum(found[kind] for kind, found in routes.items())
    total = sum(found.total() for found in routes.values())
    return {"pictures": total, "right": right / total, "routes": routes}


def _measure(restorer: Restorer, degraded: Pixels, clean: Pixels) -> dict[str, Any]:
    route = restorer.route(degraded)
    by_expert = {
        name: restorer.restore(degraded, route.with_gates(one_expert(name, CLASSES))).image
        for name in CLASSES
    }
    before, after = score(degraded, clean), score(by_expert[route.top], clean)
    return {
        "route": route.top,
        "psnr": (before.psnr, after.psnr),
        "ssim": (before.ssim, after.ssim),
        "by_expert": {name: _psnr(image, clean) for name, image in by_expert.items()},
    }


def _psnr(pixels: Pixels, target: Pixels) -> float:
    return psnr(pixels.astype(np.float64), target.astype(np.float64))


if __name__ == "__main__":
    main()
