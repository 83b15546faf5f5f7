"""What is trained, on how much, for how long."""

from dataclasses import dataclass
from typing import Final

from lorair.exporter.config import SETTING1_CLASSES, ModelConfig, RestorationConfig, RouterConfig


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
class Recipe:
    """The whole training.

    scenes: clean pictures that are drawn; each is degraded once in every way.
    side: of a scene in pixels. patch: of a training patch, a multiple of the network's stride.
    clean: share of pictures that are left clean, so that the network learns to leave them so.
    grey: share of pictures without colour, in all stages but the first.
    router, router_grey: of the router, in colour only and then with grey pictures.
    base, experts: of the restoration network.
    """

    model: ModelConfig
    scenes: int
    side: int
    patch: int
    clean: float
    grey: float
    router: Stage
    router_grey: Stage
    base: Stage
    experts: Stage


DEFAULT_MODEL: Final = ModelConfig(
    restoration=RestorationConfig(
        width=16,
        enc_blk_nums=(1, 1, 1, 2),
        middle_blk_num=1,
        dec_blk_nums=(1, 1, 1, 1),
        prior=128,
        r=4,
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
    scenes=420,
    side=512,
    patch=128,
    clean=0.12,
    grey=0.2,
    router=Stage(steps=600, batch=32, rate=7e-4),
    router_grey=Stage(steps=650, batch=32, rate=7e-4),
    base=Stage(steps=3000, batch=8, rate=1.2e-3),
    experts=Stage(steps=1000, batch=8, rate=1.5e-3),
)
"""The default model's, about an hour on two cores."""

SHORT: Final = Recipe(
    model=_SHORT_MODEL,
    scenes=12,
    side=128,
    patch=64,
    clean=0.12,
    grey=0.2,
    router=Stage(steps=50, batch=12, rate=1e-3),
    router_grey=Stage(steps=10, batch=12, rate=3e-4),
    base=Stage(steps=200, batch=4, rate=2e-3),
    experts=Stage(steps=60, batch=4, rate=2e-3),
)
"""The same on a small scale, for the tests: under a minute."""

RECIPES: Final = {"full": FULL, "short": SHORT}
