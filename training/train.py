"""Train the default model: `python -m training.train --output exporter/demo`.

Draws its own pictures, then trains router, shared network and experts. Interrupted, the
same command goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.console import stderr
from lorair.runtime.system.machine import usable_cores
from training.data import Scenes, draw_scenes
from training.recipe import RECIPES, Recipe
from training.stages import Trainer

DEFAULT_SEED = 2024


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--recipe", choices=RECIPES, default="full")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument(
        "--work", type=Path, default=Path(".build/training"), help="in-between files"
    )
    parser.add_argument("--output", type=Path, default=Path(".build/demo"), help="for the weights")
    options = parser.parse_args()
    train(RECIPES[options.recipe], options.seed, options.work, options.output)


def train(recipe: Recipe, seed: int, work: Path, output: Path) -> tuple[Path, Path]:
    """Run all stages; writes `ir.safetensors`, `router.safetensors` in float16.

    Args:
        recipe: what and how long.
        seed: of everything drawn.
        work: folder for pictures and checkpoints; holding those of an earlier run of the
            same recipe and seed, they are used.
        output: folder for the weights.

    Returns:
        The two files.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(recipe, _scenes(recipe, seed, work), seed, work, device)
    router, router_loops = trainer.train_router()
    router.eval().requires_grad_(False)
    guides = trainer.guides(router)
    net, base_loop = trainer.train_base(guides)
    experts_loop = trainer.train_experts(net, guides)
    logs = {loop.name: loop.log for loop in (*router_loops, base_loop, experts_loop)}
    (work / "log.json").write_text(json.dumps(logs), "utf-8")
    return write_weights(net, output / "ir.safetensors"), write_weights(
        router, output / "router.safetensors"
    )


def write_weights(module: nn.Module, path: Path) -> Path:
    """A module's state in float16; half the size, and no loss that could be measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        save_file({k: v.half().cpu().contiguous() for k, v in module.state_dict().items()}, partial)
    return path


def _scenes(recipe: Recipe, seed: int, work: Path) -> Scenes:
    began = time.monotonic()
    paths = []
    workers = usable_cores() if recipe.scenes > 50 else 1
    for path in draw_scenes(work / "scenes", seed, recipe.scenes, recipe.side, workers):
        paths.append(path)
        if len(paths) % 50 == 0:
            left = (recipe.scenes - len(paths)) * (time.monotonic() - began) / len(paths) / 60
            stderr().print(f"scenes   {len(paths):5d}/{recipe.scenes}  {left:5.1f} min left")
    return Scenes.read(paths)


if __name__ == "__main__":
    main()
