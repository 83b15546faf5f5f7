"""The three stages: router, restoration network under its prior, low-rank experts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lorair.exporter.model import RestorationNet, Router
from lorair.runtime.system.atomic import atomic_file
from training.data import CLEAN, KINDS, Scenes
from training.initial import init_experts, init_router
from training.loop import Loop
from training.recipe import Recipe

_ROUTER = 0, 4, 5
_GUIDES, _BASE, _EXPERTS = 1, 2, 3
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
    """What all stages share: the recipe, the pictures, the seed and a folder to work in."""

    recipe: Recipe
    scenes: Scenes
    seed: int
    folder: Path
    device: torch.device

    def rng(self, stage: int, step: int) -> np.random.Generator:
        """The generator of one step of one stage."""
        return np.random.default_rng([self.seed, 1 + stage, step])

    def tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.device)

    def train_router(self) -> tuple[Router, list[Loop]]:
        """Stage 0: cross-entropy on the views of pieces of scenes, round by round."""
        config = self.recipe.model.router
        torch.manual_seed(self.seed)
        sample = self.rng(_ROUTER[0], self.recipe.router[0].steps)
        views, _ = self._router_scenes().views(
            sample, _SAMPLE, config.side, self.recipe.clean, window=_WINDOW
        )
        router = init_router(Router(config, self.recipe.model.top_k), views).to(self.device)
        return router, [self._router_round(router, n) for n in range(len(self.recipe.router))]

    def _router_round(self, router: Router, number: int) -> Loop:
        side, stage = self.recipe.model.router.side, self.recipe.router[number]
        scenes = self._router_scenes()

        def loss_of(step: int) -> Tensor:
            rng = self.rng(_ROUTER[number], step)
            views, classes = scenes.views(
                rng, stage.batch, side, self.recipe.clean, stage.grey, stage.window
            )
            logits, _, _ = router(self.tensor(views))
            return F.cross_entropy(logits, self.tensor(classes), label_smoothing=0.02)

        name = f"router{number + 1}"
        loop = Loop(name, router, list(router.parameters()), stage, self.folder / f"{name}.pt")
        loop.run(loss_of)
        return loop

    def _router_scenes(self) -> Scenes:
        return Scenes(self.scenes.pixels[: self.recipe.router_scenes])

    def guides(self, router: Router) -> "Guides":
        """The finished router's prior and route for every picture, one random piece of each."""
        kept = self.folder / "guides.npz"
        if not kept.exists():
            guides = self._ask(router)
            with atomic_file(kept) as partial, partial.open("wb") as out:
                np.savez(out, priors=guides.priors, routes=guides.routes)
        with np.load(kept) as arrays:
            return Guides(arrays["priors"], arrays["routes"])

    def _ask(self, router: Router) -> "Guides":
        count, side = len(self.scenes.pixels), self.recipe.model.router.side
        priors, routes = [], []
        with torch.inference_mode():
            for number in range(count):
                rng = self.rng(_GUIDES, number)
                views = [
                    self.scenes.view(rng, number, kind, side, window=_WINDOW)
                    for kind in range(KINDS)
                ]
                logits, prior, _ = router(self.tensor(np.concatenate(views)))
                priors.append(prior.cpu().numpy())
                routes.append(logits.argmax(-1).cpu().numpy())
        return Guides(np.stack(priors), np.stack(routes))

    def train_base(self, guides: "Guides") -> tuple[RestorationNet, Loop]:
        """Stage 1: the shared network under the prior; no expert has a gate."""
        torch.manual_seed(self.seed)
        net = init_experts(RestorationNet(self.recipe.model.restoration)).to(self.device)
        net.to(memory_format=_LAYOUT)  # type: ignore[call-overload]  # no stub
        gates = torch.zeros(self.recipe.model.restoration.num_experts, device=self.device)
        stage = self.recipe.base

        def loss_of(step: int) -> Tensor:
            rng = self.rng(_BASE, step)
            chosen = guides.choose(rng, stage.batch, self._shares())
            return self._restoration_loss(net, guides, rng, chosen, gates)

        shared = [p for name, p in net.named_parameters() if "lora_" not in name]
        loop = Loop("base", net, shared, stage, self.folder / "base.pt")
        loop.run(loss_of)
        return net, loop

    def train_experts(self, net: RestorationNet, guides: "Guides") -> Loop:
        """Stage 2: each expert on the pictures that the router sends to it, the rest frozen."""
        stage = self.recipe.experts
        experts = self.recipe.model.restoration.num_experts
        one_hot = torch.eye(experts, device=self.device)

        def loss_of(step: int) -> Tensor:
            rng = self.rng(_EXPERTS, step)
            expert = self.recipe.turns[step % len(self.recipe.turns)]
            chosen = guides.choose(rng, stage.batch, self._shares(), expert)
            return self._restoration_loss(net, guides, rng, chosen, one_hot[expert])

        net.requires_grad_(False)
        low_rank = [p for name, p in net.named_parameters() if "lora_" in name]
        for parameter in low_rank:
            parameter.requires_grad_(True)
        loop = Loop("experts", net, low_rank, stage, self.folder / "experts.pt")
        loop.run(loss_of)
        return loop

    def _restoration_loss(
        self,
        net: RestorationNet,
        guides: "Guides",
        rng: np.random.Generator,
        chosen: npt.NDArray[np.intp],
        gates: Tensor,
    ) -> Tensor:
        degraded, clean = self.scenes.patches(rng, chosen, self.recipe.patch, self.recipe.grey)
        prior = self.tensor(guides.priors[chosen[:, 0], chosen[:, 1]])
        image = self.tensor(degraded).contiguous(memory_format=_LAYOUT)
        restored = net(image, prior, gates)
        return psnr_loss(restored, self.tensor(clean), self.tensor(chosen[:, 1]))

    def _shares(self) -> tuple[float, ...]:
        """Of each kind in a batch; they sum to 1."""
        return self.recipe.clean, *((1 - self.recipe.clean) * m for m in self.recipe.mixture)


@dataclass(frozen=True, eq=False)
class Guides:
    """What the router says of each picture: priors (N, KINDS, P), routes (N, KINDS)."""

    priors: npt.NDArray[np.float32]
    routes: npt.NDArray[np.int64]

    def choose(
        self,
        rng: np.random.Generator,
        batch: int,
        shares: tuple[float, ...],
        expert: int | None = None,
    ) -> npt.NDArray[np.intp]:
        """(batch, 2) scene and kind.

        Args:
            rng: of the choice.
            batch: pictures.
            shares: of each kind, (KINDS) summing to 1; with an expert, of the clean ones only.
            expert: limits it to what is routed there.
        """
        allowed = np.ones_like(self.routes, bool) if expert is None else self.routes == expert
        if not allowed.any():
            # A router at its very start may never choose this expert; its own class does.
            allowed[:, 1 + (expert or 0)] = True
        pictures = np.argwhere(allowed)
        kinds = pictures[:, 1]
        if expert is not None:
            weather = (kinds != CLEAN).sum()
            shares = (
                shares[CLEAN],
                *(
                    (1 - shares[CLEAN]) * (kinds == kind).sum() / max(1, weather)
                    for kind in range(1, KINDS)
                ),
            )
        counts = np.bincount(kinds, minlength=KINDS)
        weights = np.array(shares)[kinds] / counts[kinds]
        return pictures[rng.choice(len(pictures), batch, p=weights / weights.sum())]


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
