"""Searching for the node at which two backends differ, by comparing their inner values."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lorair.exporter.verify.watch import Inputs, Statistics, Value, Watched
from lorair.runtime.backends import Branch

CHUNK_BYTES: Final = 2**29
"""Of values that are fetched at once, from each of the two backends."""

_BLOCK = re.compile(r"(.*?(?:blocks|layers)\.\d+|[^./]+(?:\.\d+)?)")


@dataclass(frozen=True)
class Difference:
    """One value in both backends.

    error: the largest difference, as a part of the reference's largest magnitude; None if
        a value is not finite.
    not_finite: NaN and infinite elements. reference_not_finite: the reference's.
    largest: magnitude in the reference; None if it is not finite.
    """

    value: str
    node: str
    operator: str
    error: float | None
    not_finite: int
    reference_not_finite: int
    largest: float | None


@dataclass(frozen=True)
class Block:
    """The values of one part of the network; errors as in `Difference`."""

    name: str
    largest_error: float | None
    last_error: float | None


@dataclass(frozen=True)
class Bisection:
    """What two backends compute in a branch, value by value, in the network's order.

    picture: name of what the inputs were made from. tolerance: of a step's error.
    """

    branch: Branch
    picture: str
    tolerance: float
    steps: tuple[Difference, ...]

    @property
    def first(self) -> Difference | None:
        """The first value that differs beyond the tolerance; None if none does."""
        beyond = (s for s in self.steps if s.error is None or s.error > self.tolerance)
        return next(beyond, None)

    @property
    def first_not_finite(self) -> Difference | None:
        """The first value that is not finite; the inputs of its node still are."""
        return next((s for s in self.steps if s.not_finite), None)

    @property
    def first_not_finite_in_reference(self) -> Difference | None:
        """The first value that is not finite in the reference."""
        return next((s for s in self.steps if s.reference_not_finite), None)

    @property
    def blocks(self) -> list[Block]:
        """How the error grows; a node outside of all modules counts to the block before it."""
        own_names = (block_of(step.node) for step in self.steps)
        names = accumulate(own_names, lambda before, own: own or before, initial="input")
        next(names)
        errors = [step.error for step in self.steps]
        grouped = groupby(zip(names, errors, strict=True), key=lambda pair: pair[0])
        return [_block(name, [error for _, error in pairs]) for name, pairs in grouped]


def differences(
    wanted: Watched,
    found: Watched,
    values: Sequence[Value],
    inputs: Inputs,
    report: Callable[[float, str], None] = lambda done, what: None,
) -> tuple[Difference, ...]:
    """Compare every value of a branch between the reference and a backend, some at a time.

    `values` are in the network's order; those that `found` lacks are left out. `inputs` are the
    branch's, for both. `report` takes the fraction done and what is being done.
    """
    known = [value for value in values if value.name in found.names]
    statistics = wanted.statistics(known)(inputs)
    steps: list[Difference] = []
    for chunk in _chunks(known, statistics):
        report(len(steps) / len(known), chunk[0].node)
        names = [value.name for value in chunk]
        right, other = wanted.fetch(names, inputs), found.fetch(names, inputs)
        for value in chunk:
            a, b = right.pop(value.name), other.pop(value.name)
            steps.append(_difference(value, statistics[value.name], a, b))
    return tuple(steps)


def block_of(node: str) -> str:
    """Return the block that a node is in, `encoders.3.blocks.7`; "" outside of all."""
    path, slash, _ = node.rpartition("/")
    match = _BLOCK.match(path)
    return match[1] if slash and match else ""


def _chunks(values: Sequence[Value], statistics: dict[str, Statistics]) -> Iterator[list[Value]]:
    chunk: list[Value] = []
    size = 0
    for value in values:
        needed = statistics[value.name].size * np.dtype(np.float32).itemsize
        if chunk and size + needed > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(value)
        size += needed
    if chunk:
        yield chunk


def _difference(
    value: Value, statistics: Statistics, wanted: npt.NDArray[Any], found: npt.NDArray[Any]
) -> Difference:
    bad, other_bad = found.size - int(np.isfinite(found).sum()), statistics.not_finite
    largest = None if other_bad else statistics.largest
    error = None
    if largest is not None and not bad:
        difference = np.subtract(wanted, found, dtype=np.float32)
        error = float(np.abs(difference, out=difference).max()) / max(largest, _SMALLEST)
    return Difference(value.name, value.node, value.operator, error, bad, other_bad, largest)


_SMALLEST = float(np.finfo(np.float32).tiny)


def _block(name: str, errors: list[float | None]) -> Block:
    largest = max(math.inf if error is None else error for error in errors)
    return Block(name, None if math.isinf(largest) else largest, errors[-1])
