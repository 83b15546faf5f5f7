"""The two stages: router, then the restoration network under its prior, an expert at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.model import RestorationNet, Router
from lorair.runtime.system.atomic import atomic_file
from training.data import CLEAN, KINDS, Scenes
from training.degradations import WEATHER
from training.initial import grow, init_experts, init_router, leave_alone
from training.loop import Loop
from training.recipe import Recipe
from training.tower import PatchReader, patch_loss

Guides = npt.NDArray[np.float32]
"""(N, KINDS, P): the router's prior for each version of each scene."""

_TOWER, _ROUTER = 6, (0, 4, 5)
_GUIDES, _RESTORER, _HELD_OUT = 1, 2, 3
"""Numbers of the stages in the seeds of their random draws."""

_LAYOUT = torch.channels_last
"""Of what is trained; a third faster than the usual order on a CPU."""

_WINDOW = 7 / 16
"""Least part of a scene's sides that the router sees when it gives a scene its prior."""

_SAMPLE = 64
"""Pictures whose patches' statistics the router's embedding starts from."""

_FLOOR, _CLEAN_FLOOR = 1e-4, 5e-4
"""Squared errors (40 and 33 dB) below which a kind counts as done. In dB, the small error of
clean patches would weigh a hundred times more than a drop's, and keep every drop where it is;
with this floor it weighs about three times as much."""


@dataclass(frozen=True, eq=False)
class Trainer:
    """What all stages share.

    recipe, seed: what is trained, and on which draws.
    scenes, held_out: pictures to train on, and to judge checkpoints by.
    folder, device: where checkpoints lie, and where it runs.
    start: a smaller model whose weights training starts from; None to start anew.
    """

    recipe: Recipe
    scenes: Scenes
    held_out: Scenes
    seed: int
    folder: Path
    device: torch.device
    start: Pair | None = None

    def rng(self, stage: int, step: int) -> np.random.Generator:
        """The generator of one step of one stage."""
        return np.random.default_rng([self.seed, 1 + stage, step])

    def tensor(self, array: npt.NDArray[Any]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.device)

    def train_router(self) -> tuple[Router, list[Loop]]:
        """Stage 0: the tower on single views, then the router on all five, round by round."""
        config = self.recipe.model.router
        torch.manual_seed(self.seed)
        sample = self.rng(_ROUTER[0], self.recipe.router[0].steps)
        views, _ = self.scenes.views(
            sample, _SAMPLE, config.side, self.recipe.clean, window=_WINDOW
        )
        router = init_router(Router(config, self.recipe.model.top_k), views).to(self.device)
        if self.start is not None:
            grow(router, self.start.router)
        tower = self._train_tower(router)
        rounds = [self._router_round(router, n) for n in range(len(self.recipe.router))]
        with torch.no_grad():
            router.cls_head.bias[-1] += self.recipe.doubt
        return router, [tower, *rounds]

    def _train_tower(self, router: Router) -> Loop:
        config, stage = self.recipe.model.router, self.recipe.tower
        reader = PatchReader(router).to(self.device)

        def loss_of(scenes: Scenes, rng: np.random.Generator, batch: int) -> Tensor:
            views, visible, classes = scenes.labelled(
                rng, batch, config.side, config.patch, self.recipe.clean, self.recipe.grey
            )
            patches, picture = reader(self.tensor(views))
            return patch_loss(patches, picture, self.tensor(visible), self.tensor(classes))

        def judge() -> float:
            with torch.inference_mode():
                return float(loss_of(self.held_out, self.rng(_HELD_OUT, 2), 5 * self.recipe.judged))

        parameters = list(reader.parameters())
        loop = Loop("tower", reader, parameters, stage, self.folder / "tower.pt")
        loop.run(lambda step: loss_of(self.scenes, self.rng(_TOWER, step), stage.batch), judge)
        return loop

    def _router_round(self, router: Router, number: int) -> Loop:
        side, stage = self.recipe.model.router.side, self.recipe.router[number]

        def loss_of(step: int) -> Tensor:
            rng = self.rng(_ROUTER[number], step)
            views, classes = self.scenes.views(
                rng, stage.batch, side, self.recipe.clean, stage.grey, stage.window
            )
            logits, _, _ = router(self.tensor(views))
            return F.cross_entropy(logits, self.tensor(classes), label_smoothing=0.02)

        count = len(self.held_out.pixels) * KINDS
        views, classes = self.held_out.views(
            self.rng(_HELD_OUT, 0), 2 * count, side, 1 / KINDS, 0.1, 0.75
        )
        answers = self.tensor(classes)

        def judge() -> float:
            with torch.inference_mode():
                logits, _, _ = router(self.tensor(views))
            return float(F.cross_entropy(logits, answers))

        name = f"router{number + 1}"
        loop = Loop(name, router, list(router.parameters()), stage, self.folder / f"{name}.pt")
        loop.run(loss_of, judge)
        return loop

    def guides(self, router: Router, scenes: Scenes, name: str) -> Guides:
        """The router's prior for every picture, from one random piece of each; kept as a file.

        Returns:
            (N, KINDS, P) float32.
        """
        kept = self.folder / f"{name}.npy"
        if not kept.exists():
            with atomic_file(kept) as partial, partial.open("wb") as out:
                np.save(out, self._ask(router, scenes))
        found: Guides = np.load(kept)
        return found

    def _ask(self, router: Router, scenes: Scenes) -> Guides:
        side = self.recipe.model.router.side
        priors = []
        with torch.inference_mode():
            for number in range(len(scenes.pixels)):
                rng = self.rng(_GUIDES, number)
                views = [
                    scenes.view(rng, number, kind, side, window=_WINDOW) for kind in range(KINDS)
                ]
                _, prior, _ = router(self.tensor(np.concatenate(views)))
                priors.append(prior.cpu().numpy())
        return np.stack(priors)

    def train_restorer(self, router: Router) -> tuple[RestorationNet, Loop]:
        """Stage 1: the shared network and the experts together, a step for each weather in turn.

        Args:
            router: finished; its prior guides the network.
        """
        torch.manual_seed(self.seed)
        net = init_experts(RestorationNet(self.recipe.model.restoration)).to(self.device)
        if self.start is not None:
            grow(net, self.start.ir)
        leave_alone(net)
        net.to(memory_format=_LAYOUT)  # type: ignore[call-overload]  # no stub
        stage, turns = self.recipe.restorer, self.recipe.turns
        guides = self.guides(router, self.scenes, "guides")
        frozen = net.ending.conv.bias

        def loss_of(step: int) -> Tensor:
            rng = self.rng(_RESTORER, step)
            weather = turns[step % len(turns)]
            return self._loss(net, self.scenes, guides, rng, weather, stage.batch)

        judged = self.guides(router, self.held_out, "held_out_guides")

        def judge() -> float:
            rng = self.rng(_HELD_OUT, 1)
            with torch.inference_mode():
                losses = [
                    float(self._loss(net, self.held_out, judged, rng, weather, self.recipe.judged))
                    for weather in range(len(WEATHER))
                ]
            return sum(losses) / len(losses)

        trained = [p for p in net.parameters() if p is not frozen]
        loop = Loop("restorer", net, trained, stage, self.folder / "restorer.pt")
        loop.run(loss_of, judge)
        leave_alone(net)
        return net, loop

    def _loss(
        self,
        net: RestorationNet,
        scenes: Scenes,
        guides: Guides,
        rng: np.random.Generator,
        weather: int,
        batch: int,
    ) -> Tensor:
        """Of a batch with one weather, and some clean pictures, under that weather's expert."""
        kinds = np.where(rng.random(batch) < self.recipe.untouched, CLEAN, 1 + weather)
        chosen = np.stack([rng.integers(len(scenes.pixels), size=batch), kinds], axis=1)
        degraded, clean = scenes.patches(rng, chosen, self.recipe.patch, self.recipe.grey)
        gates = torch.eye(self.recipe.model.restoration.num_experts, device=self.device)[weather]
        image = self.tensor(degraded).contiguous(memory_format=_LAYOUT)
        prior = self.tensor(guides[chosen[:, 0], chosen[:, 1]])
        with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
            restored = net(image, prior, gates)
        return psnr_loss(restored.float(), self.tensor(clean), self.tensor(kinds))


def psnr_loss(restored: Tensor, clean: Tensor, kinds: Tensor) -> Tensor:
    """Minus PSNR in dB, each kind's patches as one large picture.

    So the worst places of a kind count most, as they do in a whole picture's PSNR, and no
    kind rules over another.

    Args:
        restored: (B, 3, h, w).
        clean: the same shape.
        kinds: (B) versions of `Scenes`; one weighs as much as it has patches.
    """
    errors = (restored - clean).square().mean((1, 2, 3))
    same = (kinds[:, None] == kinds).to(errors.dtype)
    pooled = same @ errors / same.sum(1)
    floors = torch.where(kinds == CLEAN, _CLEAN_FLOOR, _FLOOR).to(errors.dtype)
    return 10 * torch.log10(pooled + floors).mean()
