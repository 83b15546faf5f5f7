"""Say in sentences what a mixture of experts costs, from the rows of `lorair-bench experts`.

Ratios are taken within each round, so that noise which slows a whole round drops out.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import truediv
from typing import Any, Final

import numpy as np

from lorair.benchmarks.schema.costs import ExpertRow
from lorair.benchmarks.schema.statistics import Estimate

LEAST_ROUNDS: Final = 6
"""Of fewer no 95 % interval can be given."""


@dataclass(frozen=True)
class TimedMixture:
    """A mixture at one size, merged and with its gates in the graph, both timed."""

    merged: ExpertRow
    gates: ExpertRow

    def rounds(self) -> Iterator[tuple[float, float]]:
        """Yield the seconds by gates and merged; interrupted, one may lack the last round."""
        return zip(self.gates.samples, self.merged.samples, strict=False)


def sentences(rows: Sequence[ExpertRow]) -> tuple[str, ...]:
    """Return what the rows say; nothing about forms with fewer than six timed rounds."""
    pairs = list(_pairs(rows))
    by_size = _grouped(pairs, "size")
    return (
        *(_cost(size, found) for size, found in by_size.items()),
        *(_pays(size, found) for size, found in by_size.items()),
        *_top_k(pairs),
        *_bytes(pairs),
    )


def _pairs(rows: Sequence[ExpertRow]) -> Iterator[TimedMixture]:
    """Every mixture that was timed in both forms, often enough."""
    often = [row for row in rows if len(row.samples) >= LEAST_ROUNDS]
    timed = {(row.form, (row.experts, row.top_k, row.size)): row for row in often}
    for (form, mixture), row in timed.items():
        if form == "gates" and (merged := timed.get(("merged", mixture))):
            yield TimedMixture(merged, row)


def _grouped(pairs: Iterable[TimedMixture], field: str) -> dict[Any, list[TimedMixture]]:
    """By a field of their rows."""
    out: dict[Any, list[TimedMixture]] = {}
    for pair in pairs:
        out.setdefault(getattr(pair.gates, field), []).append(pair)
    return out


def _cost(size: str, pairs: Sequence[TimedMixture]) -> str:
    """How much slower the gates make a picture, for each number of experts."""
    parts = [
        f"{ratio.value - 1:+.0%} with {_experts(experts)} "
        f"({ratio.low - 1:+.0%} to {ratio.high - 1:+.0%})"
        for experts, found in _grouped(pairs, "experts").items()
        for ratio in [Estimate.of([a / b for pair in found for a, b in pair.rounds()])]
    ]
    return f"At {size} gates in the graph cost, against merged weights, {', '.join(parts)}."


def _pays(size: str, pairs: Sequence[TimedMixture]) -> str:
    """From how many pictures on a merge is worth its time."""
    parts = [
        f"{_pictures(float(np.median(switches)), _saved(found))} with {_experts(experts)}"
        for experts, found in _grouped(pairs, "experts").items()
        if (switches := [s for p in found if (s := p.merged.switch_seconds) is not None])
    ]
    if not parts:
        return f"At {size} no route was switched."
    return (
        f"At {size} merging for a route pays when it is used for {', '.join(parts)} "
        "(time to merge and load, over what it saves a picture)."
    )


def _saved(pairs: Sequence[TimedMixture]) -> Estimate:
    """Seconds a picture."""
    return Estimate.of([a - b for pair in pairs for a, b in pair.rounds()])


def _pictures(switch: float, saved: Estimate) -> str:
    if saved.low <= 0:
        return f"no number that could be measured (saved: {saved.value * 1e3:.1f} ms, within noise)"
    return (
        f"more than {math.floor(switch / saved.value)} pictures "
        f"({switch:.2f} s over {saved.value * 1e3:.1f} ms)"
    )


def _top_k(pairs: Sequence[TimedMixture]) -> Iterator[str]:
    """Whether more gates that are not 0 cost more, where most experts are."""
    if not pairs:
        return
    experts = max(pair.gates.experts for pair in pairs)
    size = pairs[-1].gates.size
    rows = [p.gates for p in pairs if (p.gates.experts, p.gates.size) == (experts, size)]
    few, many = (choose(rows, key=lambda row: row.top_k) for choose in (min, max))
    if few is many:
        return
    ratio = Estimate.of(list(map(truediv, many.samples, few.samples)))
    is_one = ratio.low <= 1 <= ratio.high
    says = "makes no difference that could be measured" if is_one else "matters"
    yield (
        f"top_k {says}: with {_experts(experts)} at {size}, gates in the graph, top {many.top_k} "
        f"takes {ratio.value:.2f} times as long as top {few.top_k} "
        f"({ratio.low:.2f} to {ratio.high:.2f})."
    )


def _bytes(pairs: Sequence[TimedMixture]) -> Iterator[str]:
    """What an expert adds, and from which number on the mixture is twice an ordinary network."""
    sizes = {p.gates.experts: p.gates.bundle_bytes for p in pairs if p.gates.bundle_bytes}
    merged = next((p.merged.bundle_bytes for p in pairs if p.merged.bundle_bytes), None)
    if len(sizes) < 2 or merged is None:
        return
    fewest, most = min(sizes), max(sizes)
    each = (sizes[most] - sizes[fewest]) / (most - fewest)
    without = sizes[fewest] - each * fewest
    beyond = math.floor((2 * merged - without) / each)
    yield (
        f"Each expert adds {each / 1e6:.3g} MB, {each / merged:.1%} of the merged network's "
        f"{merged / 1e6:.3g} MB; beyond {_experts(beyond)} the mixture is more than twice as large."
    )


def _experts(count: int) -> str:
    return f"{count} expert{'s'[: count != 1]}"
