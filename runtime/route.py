"""What the router says of a picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Route:
    """The guidance under which a picture is restored.

    logits: (E,) float32, one for each class.
    gates: (E,) float32, 0 or more, summing to 1.
    prior: (P,) float32, the degradation prior.
    classes: E names.
    """

    logits: Array
    gates: Array
    prior: Array
    classes: tuple[str, ...]

    @property
    def top(self) -> str:
        """The name of the class with the largest gate."""
        return self.classes[int(self.gates.argmax())]

    def summary(self) -> str:
        """Classes with their gates, the largest first: `rain 0.84, snow 0.16`."""
        order = np.argsort(-self.gates, kind="stable")
        return ", ".join(f"{self.classes[e]} {self.gates[e]:.2f}" for e in order)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, the prior left out."""
        return {
            "class": self.top,
            "gates": dict(zip(self.classes, map(float, self.gates), strict=True)),
            "logits": dict(zip(self.classes, map(float, self.logits), strict=True)),
        }


def gates_from_logits(logits: npt.ArrayLike, top_k: int) -> Array:
    """Softmax over the top_k largest logits; every other gate is exactly 0.

    Args:
        logits: (E,).
        top_k: 1 to E. Of equal logits the first counts as larger.

    Returns:
        (E,) float32 summing to 1.
    """
    values = np.asarray(logits, np.float32)
    chosen = np.argsort(-values, kind="stable")[:top_k]
    weights = np.exp(values[chosen] - values[chosen].max())
    gates = np.zeros_like(values)
    gates[chosen] = weights / weights.sum()
    return gates
