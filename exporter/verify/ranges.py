"""How near a network's values come to the largest of float16."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from lorair.exporter.verify.watch import Inputs, Statistics, Value
from lorair.runtime.backends import Branch

FLOAT16_MAX: Final = 65504.0

MARGIN: Final = 4.0
"""Least factor between a value and the largest float16 that raises no warning: two bits. Other
pictures and other routes have larger values than those that were tried."""

Measure = Callable[[Inputs], dict[str, Statistics]]


@dataclass(frozen=True)
class Range:
    """The largest magnitude that a node puts out on any picture, in float32 arithmetic.

    position: of the node in its branch. largest: None if it is not finite. picture: on which.
    """

    branch: Branch
    position: int
    node: str
    operator: str
    largest: float | None
    picture: str

    @property
    def factor(self) -> float | None:
        """The factor up to the largest float16; below 1 it overflows. None for zero."""
        if self.largest is None:
            return 0.0
        return FLOAT16_MAX / self.largest if self.largest else None

    @property
    def is_close(self) -> bool:
        """Whether less than `MARGIN` is left."""
        return self.factor is not None and self.factor < MARGIN

    @property
    def overflows(self) -> bool:
        """Whether float16 cannot hold it."""
        return self.factor is not None and self.factor < 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `bits` are factors of two."""
        bits = math.log2(self.factor) if self.factor else None
        return {**asdict(self), "factor": self.factor, "bits": bits}


def audit(
    branch: Branch,
    values: Sequence[Value],
    measure: Measure,
    inputs: Iterable[tuple[str, Inputs]],
) -> list[Range]:
    """Return the range of every node of a branch, the largest first.

    `measure` gives the values' statistics in float32 arithmetic; `inputs` are each picture's,
    with its name.
    """
    found: dict[str, Range] = {}
    for picture, given in inputs:
        statistics = measure(given)
        for position, value in enumerate(values):
            numbers = statistics[value.name]
            largest = None if numbers.not_finite else numbers.largest
            one = Range(branch, position, value.node, value.operator, largest, picture)
            found[value.node] = max(found.get(value.node, one), one, key=magnitude)
    return sorted(found.values(), key=magnitude, reverse=True)


def magnitude(one: Range) -> float:
    """Return the largest value for sorting, infinite if it is not finite."""
    return math.inf if one.largest is None else one.largest
