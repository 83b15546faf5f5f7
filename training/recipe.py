"""What is trained, on how much, for how long."""

from dataclasses import dataclass
from typing import Final

from lorair.exporter.model.config import (
    SETTING1_CLASSES,
    ModelConfig,
    RestorationConfig,
    RouterConfig,
)


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    steps: optimiser steps, at least 1.
    batch: pictures (router) or patches (restoration) a step.
    rate: highest learning rate of AdamW; a short warm-up, then a cosine down to nearly 0.
    """

    steps: int
    batch: int
    rate: float


@dataclass(frozen=True)
class Round(Stage):
    """One round of the router's training, the next starts from its result.

    grey: share of pictures without colour.
    window: least height and width of a training view, as a share of the scene's.
    """

    grey: float = 0.0
    window: float = 7 / 16


@dataclass(frozen=True)
class Recipe:
    """The whole training.

    scenes: clean pictures that are drawn; each is degraded once in every way.
    router_scenes: how many of them the router learns from.
    side: of a scene in pixels. patch: of a training patch, a multiple of the network's stride.
    clean: share of pictures that are left clean, so that the network learns to leave them so.
    mixture: shares of the classes among the base's other patches; they sum to 1.
    grey: share of patches without colour.
    router: rounds of the router, each with its own cosine (warm restarts).
    base, experts: stages of the restoration network.
    turns: the order in which the experts take their steps, over and over.
    """

    model: ModelConfig
    scenes: int
    router_scenes: int
    side: int
    patch: int
    clean: float
    mixture: tuple[float, ...]
    grey: float
    router: tuple[Round, ...]
    base: Stage
    experts: Stage
    turns: tuple[int, ...]


DEFAULT_MODEL: Final = ModelConfig(
    restoration=RestorationConfig(
        width=16,
        enc_blk_nums=(1, 1, 1, 2),
        middle_blk_num=1,
        dec_blk_nums=(1, 1, 1, 1),
        prior=128,
        r=16,
        num_experts=3,
    ),
    router=RouterConfig(
        hidden=128, layers=2, mlp=384, side=112, patch=14, projection=256, num_classes=3
    ),
    top_k=1,
    classes=SETTING1_CLASSES,
)

_SHORT_MODEL: Final = ModelConfig(
    restoration=RestorationConfig(
        width=16,
        enc_blk_nums=(1, 1),
        middle_blk_num=1,
        dec_blk_nums=(1, 1),
        prior=32,
        r=2,
        num_experts=3,
    ),
    router=RouterConfig(
        hidden=64, layers=2, mlp=128, side=56, patch=8, projection=64, num_classes=3
    ),
    top_k=1,
    classes=SETTING1_CLASSES,
)

FULL: Final = Recipe(
    model=DEFAULT_MODEL,
    scenes=700,
    router_scenes=400,
    side=512,
    patch=128,
    clean=0.12,
    # Raindrops are learned last: what a drop hides has to be made up from around it.
    mixture=(0.2, 0.2, 0.6),
    grey=0.2,
    router=(
        Round(steps=550, batch=32, rate=7e-4),
        Round(steps=450, batch=32, rate=7e-4, grey=0.2),
        # Nearly whole pictures, as photographs come: drops are few and seen from afar.
        Round(steps=350, batch=32, rate=5e-4, grey=0.2, window=0.75),
    ),
    base=Stage(steps=3200, batch=8, rate=1.5e-3),
    experts=Stage(steps=4000, batch=8, rate=1.5e-3),
    turns=(2, 2, 2, 0, 2, 2, 2, 1),
)
"""The default model's, an hour and a quarter on two cores."""

SHORT: Final = Recipe(
    model=_SHORT_MODEL,
    scenes=32,
    router_scenes=32,
    side=128,
    patch=64,
    clean=0.12,
    mixture=(1 / 3, 1 / 3, 1 / 3),
    grey=0.2,
    router=(
        Round(steps=40, batch=12, rate=1e-3),
        Round(steps=20, batch=12, rate=5e-4, grey=0.2, window=0.75),
    ),
    base=Stage(steps=500, batch=4, rate=2e-3),
    experts=Stage(steps=60, batch=4, rate=3e-4),
    turns=(0, 1, 2),
)
"""The same on a small scale, for the tests: under a minute."""

RECIPES: Final = {"full": FULL, "short": SHORT}
