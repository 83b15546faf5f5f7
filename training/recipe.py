"""What is trained, on how much, for how long."""

from dataclasses import dataclass
from typing import Final

from lorair.exporter.model.config import ModelConfig, RestorationConfig, RouterConfig
from training.degradations import CLASSES


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
    held_out: more of them, from other photographs, that checkpoints are judged by.
    photographs: whether the packages' photographs are among them.
    side: of a scene in pixels. patch: of a training patch, a multiple of the network's stride.
    clean: share of the router's pictures that are clean.
    untouched: share of an expert's patches that are clean, so that it leaves them so.
    grey: share of patches without colour.
    tower: stage of the router's tower alone, on patches.
    router: rounds of the router, each with its own cosine (warm restarts).
    doubt: added to the logit of `clean` at the end: in doubt, a picture is left alone.
    restorer: stage of the restoration network, shared weights and experts together.
    turns: the order in which the weathers take their steps, over and over.
    judged: held-out patches of each weather that a checkpoint is judged by.
    """

    model: ModelConfig
    scenes: int
    held_out: int
    photographs: bool
    side: int
    patch: int
    clean: float
    untouched: float
    grey: float
    tower: Stage
    router: tuple[Round, ...]
    doubt: float
    restorer: Stage
    turns: tuple[int, ...]
    judged: int


DEFAULT_MODEL: Final = ModelConfig(
    restoration=RestorationConfig(
        width=16,
        enc_blk_nums=(1, 1, 1, 2),
        middle_blk_num=1,
        dec_blk_nums=(1, 1, 1, 1),
        prior=128,
        r=16,
        num_experts=4,
    ),
    router=RouterConfig(
        hidden=128, layers=3, mlp=384, side=112, patch=8, projection=256, num_classes=4
    ),
    top_k=1,
    classes=CLASSES,
)

_SHORT_MODEL: Final = ModelConfig(
    restoration=RestorationConfig(
        width=16,
        enc_blk_nums=(1, 1),
        middle_blk_num=1,
        dec_blk_nums=(1, 1),
        prior=32,
        r=3,
        num_experts=4,
    ),
    router=RouterConfig(
        hidden=64, layers=2, mlp=128, side=56, patch=8, projection=64, num_classes=4
    ),
    top_k=1,
    classes=CLASSES,
)

FULL: Final = Recipe(
    model=DEFAULT_MODEL,
    scenes=1240,
    held_out=16,
    photographs=True,
    side=448,
    patch=112,
    clean=0.3,
    untouched=0.08,
    grey=0.15,
    tower=Stage(steps=4500, batch=32, rate=8e-4),
    router=(
        Round(steps=600, batch=16, rate=2e-4, grey=0.12, window=0.5),
        Round(steps=700, batch=16, rate=4e-4, grey=0.12),
    ),
    doubt=1.5,
    restorer=Stage(steps=4300, batch=6, rate=8e-4),
    turns=(2, 0, 1),
    judged=32,
)
"""The default model's, on one CPU core: 20 minutes for the scenes, two hours each for tower and
network, and 40 minutes for the router."""

SHORT: Final = Recipe(
    model=_SHORT_MODEL,
    scenes=16,
    held_out=4,
    photographs=False,
    side=128,
    patch=64,
    clean=0.25,
    untouched=0.12,
    grey=0.2,
    tower=Stage(steps=8, batch=6, rate=1e-3),
    router=(
        Round(steps=16, batch=6, rate=1e-3),
        Round(steps=8, batch=6, rate=5e-4, grey=0.2, window=0.75),
    ),
    doubt=1.5,
    restorer=Stage(steps=80, batch=4, rate=2e-3),
    turns=(0, 1, 2),
    judged=4,
)
"""The same on a small scale, for the tests: a quarter of a minute."""

RECIPES: Final = {"full": FULL, "short": SHORT}
