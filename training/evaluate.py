"""The default model's numbers: `python -m training.evaluate --report FILE`.

On the held-out photographs of `training.pairs`: PSNR and SSIM before and after, the
router's accuracy, and every picture under every expert and under none. PyTorch, with the
weights as shipped; `lorair-bench quality` gives the same of a bundle.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorair.benchmarks.quality.metrics import mean_scores, psnr, score
from lorair.benchmarks.schema.quality import Scores
from lorair.exporter.checkpoint.checkpoint import load_pair
from lorair.exporter.model import RestorationNet, Router
from lorair.runtime.pixels import from_planes, make_views, to_planes
from training.degradations import CLASSES
from training.pairs import CLEAN, DEFAULT_SEEDS, pairs
from training.scenes import HELD_OUT_PHOTOS

NO_EXPERT = "none"

Prior = np.ndarray


class Model:
    """Router and restoration network on 8-bit pictures."""

    def __init__(self, router: Router, net: RestorationNet, side: int) -> None:
        self.router, self.net, self.side = router, net, side

    def route(self, pixels: np.ndarray) -> tuple[str, torch.Tensor]:
        """The class it chooses, and the prior."""
        with torch.inference_mode():
            logits, prior, _ = self.router(torch.from_numpy(make_views(pixels, self.side)))
        return CLASSES[int(logits.argmax())], prior

    def restore(self, pixels: np.ndarray, prior: torch.Tensor, expert: str) -> np.ndarray:
        """Under one expert's gate, or under none."""
        gates = torch.tensor([float(name == expert) for name in CLASSES])
        planes = torch.from_numpy(to_planes(pixels, self.net.stride))
        with torch.inference_mode():
            restored = self.net(planes, prior, gates).numpy()
        return from_planes(restored, pixels.shape[:2], pixels.dtype)


def main() -> None:
    """The command line."""
    demo = Path(__file__).parents[1] / "exporter" / "demo"
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--ir-weights", type=Path, default=demo / "ir.safetensors")
    parser.add_argument("--router-weights", type=Path, default=demo / "router.safetensors")
    parser.add_argument("--seeds", type=int, default=DEFAULT_SEEDS)
    parser.add_argument("--photos", nargs="+", default=HELD_OUT_PHOTOS)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    pair = load_pair(options.ir_weights, options.router_weights, classes=CLASSES)
    model = Model(*pair.modules(), pair.config.router.side)
    summary = evaluate(model, options.seeds, tuple(options.photos))
    text = json.dumps(summary, indent=2)
    print(text)
    if options.report:
        options.report.write_text(text + "\n", "utf-8")


def evaluate(
    model: Model, seeds: int = DEFAULT_SEEDS, photos: tuple[str, ...] = HELD_OUT_PHOTOS
) -> dict[str, Any]:
    """All numbers by class, as plain values; see `summarise`."""
    rows = defaultdict(list)
    for kind, _, degraded, clean in pairs(seeds, photos):
        rows[kind].append(_measure(model, degraded, clean))
    return {kind: summarise(kind, found) for kind, found in rows.items()}


def summarise(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of one class, or of the clean pictures.

    Returns:
        pictures; before, after and gain (each with psnr, ssim, psnr_y, ssim_y; `before` of
        equal pictures is 160 dB); least and greatest gain in dB; routes; by_expert: PSNR.
    """
    before, after = (mean_scores([row[key] for row in rows]) for key in ("before", "after"))
    gains = [row["after"].psnr - row["before"].psnr for row in rows]
    names = (*CLASSES, NO_EXPERT)
    routes = [row["route"] for row in rows]
    return {
        "pictures": len(rows),
        "before": vars(before) if kind != CLEAN else None,
        "after": vars(after),
        "gain_psnr": float(np.mean(gains)) if kind != CLEAN else None,
        "least_gain_psnr": min(gains) if kind != CLEAN else None,
        "least_psnr": min(row["after"].psnr for row in rows),
        "routes": {name: routes.count(name) for name in CLASSES},
        "by_expert": {n: float(np.mean([row["by_expert"][n] for row in rows])) for n in names},
    }


def _measure(model: Model, degraded: np.ndarray, clean: np.ndarray) -> dict[str, Any]:
    route, prior = model.route(degraded)
    restored = {n: model.restore(degraded, prior, n) for n in (*CLASSES, NO_EXPERT)}
    before: Scores = score(degraded, clean)
    exact = clean.astype(np.float64)
    return {
        "route": route,
        "before": before,
        "after": score(restored[route], clean),
        "by_expert": {n: psnr(p.astype(np.float64), exact) for n, p in restored.items()},
    }


if __name__ == "__main__":
    main()
