"""What the router says of a picture."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.pixels import Array
from lorair.runtime.routing.gates import NONE

UNSURE: Final = 0.25
"""Margins below it are worth a look. Of 156 held-out pictures under the default model, 7 of 28
wrong routes are below it and 4 of 128 right ones."""

CLEAN: Final = "clean"
"""The class, where a bundle has one, of pictures that have nothing to restore."""

_IS_CLEAN: Final = (
    "the router finds nothing to restore; to restore it all the same, name an expert with --expert"
)


@dataclass(frozen=True, eq=False)
class Route:
    """The guidance under which a picture is restored.

    logits: (E,) float32, one for each class.
    gates: (E,) float32, 0 or more, summing to 1, or all 0 where no expert takes part.
    prior: (P,) float32, the degradation prior.
    classes: E names.
    """

    logits: Array
    gates: Array
    prior: Array
    classes: tuple[str, ...]

    @property
    def top(self) -> str:
        """The name of the class with the largest gate; `none` if all are 0."""
        if not self.gates.any():
            return NONE
        return self.classes[int(self.gates.argmax())]

    @property
    def probabilities(self) -> Array:
        """(E,) float32: the softmax of all logits, whatever top_k keeps of them."""
        return gates_from_logits(self.logits, len(self.logits))

    @property
    def margin(self) -> float:
        """Between the two largest probabilities, 0 to 1; 1 if there is one class only."""
        largest = np.sort(self.probabilities)[::-1]
        return float(largest[0] - largest[1]) if len(largest) > 1 else 1.0

    @property
    def is_unsure(self) -> bool:
        """Whether the router could as well have said something else: margin below `UNSURE`."""
        return self.margin < UNSURE

    def doubts(self) -> tuple[str, ...]:
        """Return what to tell the user if the router is unsure, or finds the picture clean.

        Nothing, if somebody else has chosen the gates.
        """
        if not self.gates.any() or self.gates.argmax() != self.logits.argmax():
            return ()
        if not self.is_unsure:
            return (_IS_CLEAN,) if self.top == CLEAN else ()
        first, second = np.argsort(-self.logits, kind="stable")[:2]
        return (
            f"the router is unsure: {self.classes[first]} or {self.classes[second]} "
            f"(margin {self.margin:.2f}, below {UNSURE:g}); compare with --expert",
        )

    def with_gates(self, gates: Array) -> "Route":
        """The same picture's prior under other gates (E,)."""
        return replace(self, gates=np.asarray(gates, np.float32))

    def summary(self) -> str:
        """Classes with their shares, the largest first: `rain 0.84, snow 0.16`.

        Where the router has chosen one expert its gate is 1, whatever the router thought; its
        probabilities say more. Else they are the gates.
        """
        is_choice = self.gates.max() == 1 and self.gates.argmax() == self.logits.argmax()
        shares = self.probabilities if is_choice else self.gates
        order = np.argsort(-shares, kind="stable")
        return ", ".join(f"{self.classes[e]} {shares[e]:.2f}" for e in order)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the prior left out."""
        found = {name: self._by_class(name) for name in ("gates", "probabilities", "logits")}
        return {"class": self.top, **found, "margin": self.margin, "unsure": self.is_unsure}

    def _by_class(self, name: str) -> dict[str, float]:
        return dict(zip(self.classes, map(float, getattr(self, name)), strict=True))


def gates_from_logits(logits: npt.ArrayLike, top_k: int) -> Array:
    """Return (E,) gates that sum to 1: the softmax over the top_k largest logits (E,), else 0.

    Of equal logits the first counts as larger.
    """
    values = np.asarray(logits, np.float32)
    chosen = np.argsort(-values, kind="stable")[:top_k]
    weights = np.exp(values[chosen] - values[chosen].max())
    gates = np.zeros_like(values)
    gates[chosen] = weights / weights.sum()
    return gates
