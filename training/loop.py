"""One stage's loop: optimiser, learning rate, moving average, checkpoints, progress."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.console import stderr
from training.recipe import Stage

LossOf = Callable[[int], Tensor]
"""Step number -> the loss of that step's batch."""

Judge = Callable[[], float]

_AVERAGE = 0.998


@dataclass
class Loop:
    """Trains some parameters of a module, and can be stopped and started again.

    name: of the stage, for the progress lines.
    module: whose floating-point state is averaged and saved.
    parameters: those that are trained.
    checkpoint: the file that holds the state in between.
    every: steps between progress lines. save_every: seconds between checkpoints.
    judge_every: steps between two looks at what is held out.
    log: (step, loss) of every progress line. best: step, held-out loss and state.
    """

    name: str
    module: nn.Module
    parameters: list[nn.Parameter]
    stage: Stage
    checkpoint: Path
    every: int = 25
    judge_every: int = 100
    save_every: float = 60.0
    log: list[tuple[int, float]] = field(default_factory=list)
    best: tuple[int, float, dict[str, Tensor]] | None = None

    def run(self, loss_of: LossOf, judge: Judge) -> dict[str, Tensor]:
        """Train to the end, and leave the module with the best state.

        Args:
            loss_of: the loss of a step's batch.
            judge: the module's loss on what is held out; asked of the moving average.

        Returns:
            The moving average with the least loss, on the CPU.
        """
        optimiser = torch.optim.AdamW(
            self.parameters, lr=self.stage.rate, betas=(0.9, 0.95), weight_decay=1e-4
        )
        average = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        first = self._resume(optimiser, average)
        began = saved = time.monotonic()
        recent: list[float] = []
        for step in range(first, self.stage.steps):
            recent.append(self._step(optimiser, loss_of, step))
            self._update(average, step)
            done = step + 1
            if done % self.every == 0 or done == self.stage.steps:
                self._report(done, sum(recent) / len(recent), began, done - first)
                recent.clear()
            if done % self.judge_every == 0 or done == self.stage.steps:
                self._judge(judge, average, done)
            if time.monotonic() - saved > self.save_every or done == self.stage.steps:
                self._save(optimiser, average, done)
                saved = time.monotonic()
        best = self.best[2] if self.best else average
        self.module.load_state_dict(best)
        return {k: v.cpu() for k, v in best.items()}

    def _judge(self, judge: Judge, average: dict[str, Tensor], done: int) -> None:
        current = {k: v.clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(average)
        loss = judge()
        self.module.load_state_dict(current)
        stderr().print(f"{self.name:8} {done:5d}  held out {loss:8.4f}", highlight=False)
        if self.best is None or loss < self.best[1]:
            self.best = done, loss, {k: v.clone() for k, v in average.items()}

    def _step(self, optimiser: torch.optim.Optimizer, loss_of: LossOf, step: int) -> float:
        for group in optimiser.param_groups:
            group["lr"] = self.stage.rate * schedule(step, self.stage.steps)
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        optimiser.step()
        return float(loss.detach())

    def _update(self, average: dict[str, Tensor], step: int) -> None:
        # Short at first: the start of a training is not worth remembering.
        decay = min(_AVERAGE, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            average[name].lerp_(value, 1 - decay)

    def _report(self, done: int, loss: float, began: float, steps: int) -> None:
        rate = steps / (time.monotonic() - began)
        left = (self.stage.steps - done) / rate
        self.log.append((done, loss))
        stderr().print(
            f"{self.name:8} {done:5d}/{self.stage.steps}  loss {loss:8.4f}  "
            f"{rate:5.2f} steps/s  {left / 60:5.1f} min left",
            highlight=False,
        )

    def _save(
        self, optimiser: torch.optim.Optimizer, average: dict[str, Tensor], done: int
    ) -> None:
        state = {
            "done": done,
            "module": self.module.state_dict(),
            "average": average,
            "optimiser": optimiser.state_dict(),
            "log": self.log,
            "best": self.best,
        }
        with atomic_file(self.checkpoint) as partial:
            torch.save(state, partial)

    def _resume(self, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
        if not self.checkpoint.exists():
            return 0
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        for name, value in state["average"].items():
            average[name].copy_(value)
        self.log = [(int(step), float(loss)) for step, loss in state["log"]]
        self.best = state["best"]
        return int(state["done"])


def schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: a linear warm-up, then half a cosine to 1 %."""
    warm = max(1, min(100, steps // 20))
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
