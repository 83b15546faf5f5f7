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

from lorair.exporter.checkpoint.checkpoint import Pair, load_pair
from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.console import stderr
from lorair.runtime.system.machine import usable_cores
from training.data import Scenes, draw_scenes
from training.recipe import RECIPES, Recipe
from training.scenes import TRAINING_PHOTOS, VALIDATION_PHOTOS, training_photos
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
    parser.add_argument("--start-from", type=Path, help="folder of a smaller model's weights")
    options = parser.parse_args()
    recipe = RECIPES[options.recipe]
    start = None
    if options.start_from:
        files = (options.start_from / f"{name}.safetensors" for name in ("ir", "router"))
        start = load_pair(*files)
    train(recipe, options.seed, options.work, options.output, start)


def train(
    recipe: Recipe, seed: int, work: Path, output: Path, start: Pair | None = None
) -> tuple[Path, Path]:
    """Run all stages; writes `ir.safetensors`, `router.safetensors` in float16.

    Args:
        recipe: what and how long.
        seed: of everything drawn.
        work: folder for pictures and checkpoints; holding those of an earlier run of the
            same recipe and seed, they are used.
        output: folder for the weights.
        start: a smaller model whose weights training starts from.

    Returns:
        The two files.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scenes = _scenes(recipe, seed, work)
    held_out = _held_out(recipe, seed, work)
    trainer = Trainer(recipe, scenes, held_out, seed, work, device, start)
    router, router_loops = trainer.train_router()
    router.eval().requires_grad_(False)
    write_weights(router, output / "router.safetensors")
    net, restorer_loop = trainer.train_restorer(router)
    logs = {loop.name: loop.log for loop in (*router_loops, restorer_loop)}
    (work / "log.json").write_text(json.dumps(logs), "utf-8")
    return write_weights(net, output / "ir.safetensors"), output / "router.safetensors"


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
    photos = training_photos() if recipe.photographs else TRAINING_PHOTOS
    for path in draw_scenes(work / "scenes", seed, recipe.scenes, recipe.side, workers, photos):
        paths.append(path)
        if len(paths) % 50 == 0:
            left = (recipe.scenes - len(paths)) * (time.monotonic() - began) / len(paths) / 60
            stderr().print(f"scenes   {len(paths):5d}/{recipe.scenes}  {left:5.1f} min left")
    return Scenes.read(paths)


def _held_out(recipe: Recipe, seed: int, work: Path) -> Scenes:
    photos = VALIDATION_PHOTOS if recipe.photographs else TRAINING_PHOTOS
    folder = work / "held_out"
    drawn = draw_scenes(folder, seed + 1, recipe.held_out, recipe.side, 1, photos)
    return Scenes.read(list(drawn))


if __name__ == "__main__":
    main()
