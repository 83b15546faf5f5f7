"""Say in sentences what a mixture of experts costs, from the rows of `lorair-bench experts`.

Ratios are taken within each round, so that noise which slows a whole round drops out.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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


def sentences(rows: Sequence[ExpertRow]) -> tuple[str, ...]:
    """Return what the rows say; nothing about forms with fewer than six timed rounds."""
    pairs = list(_pairs(rows))
    by_size: dict[str, list[TimedMixture]] = {}
    for pair in pairs:
        by_size.setdefault(pair.gates.size, []).append(pair)
    return (
        *(_cost(size, found) for size, found in by_size.items()),
        *(_pays(size, found) for size, found in by_size.items()),
        *_top_k(pairs),
        *_bytes(pairs),
    )


def _pairs(rows: Sequence[ExpertRow]) -> Iterator[TimedMixture]:
    merged = {_mixture(row): row for row in rows if row.form == "merged"}
    for row in rows:
        other = merged.get(_mixture(row))
        if row.form != "gates" or other is None:
            continue
        if min(len(row.samples), len(other.samples)) >= LEAST_ROUNDS:
            yield TimedMixture(other, row)


def _mixture(row: ExpertRow) -> tuple[int, int, str]:
    return row.experts, row.top_k, row.size


def _by_experts(pairs: Iterable[TimedMixture]) -> dict[int, list[TimedMixture]]:
    out: dict[int, list[TimedMixture]] = {}
    for pair in pairs:
        out.setdefault(pair.gates.experts, []).append(pair)
    return out


def _cost(size: str, pairs: Sequence[TimedMixture]) -> str:
    """How much slower the gates make a picture, for each number of experts."""
    parts = [
        f"{ratio.value - 1:+.0%} with {_experts(experts)} "
        f"({ratio.low - 1:+.0%} to {ratio.high - 1:+.0%})"
        for experts, found in _by_experts(pairs).items()
        for ratio in [Estimate.of([r for pair in found for r in _ratios(pair.gates, pair.merged)])]
    ]
    return f"At {size} gates in the graph cost, against merged weights, {', '.join(parts)}."


def _ratios(row: ExpertRow, other: ExpertRow) -> list[float]:
    # Interrupted, one of them may lack the last round.
    return [a / b for a, b in zip(row.samples, other.samples, strict=False)]


def _pays(size: str, pairs: Sequence[TimedMixture]) -> str:
    """From how many pictures on a merge is worth its time."""
    parts = [
        f"{_pictures(switch, saved)} with {_experts(experts)}"
        for experts, found in _by_experts(pairs).items()
        if (switch := _switch(found)) is not None
        for saved in [_saved(found)]
    ]
    if not parts:
        return f"At {size} no route was switched."
    return (
        f"At {size} merging for a route pays when it is used for {', '.join(parts)} "
        "(time to merge and load, over what it saves a picture)."
    )


def _switch(pairs: Sequence[TimedMixture]) -> float | None:
    found = [s for pair in pairs if (s := pair.merged.switch_seconds) is not None]
    return float(np.median(found)) if found else None


def _saved(pairs: Sequence[TimedMixture]) -> Estimate:
    """Seconds a picture."""
    return Estimate.of(
        [
            a - b
            for pair in pairs
            for a, b in zip(pair.gates.samples, pair.merged.samples, strict=False)
        ]
    )


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
    ratio = Estimate.of(_ratios(many, few))
    says = "makes no difference that could be measured" if _is_one(ratio) else "matters"
    yield (
        f"top_k {says}: with {_experts(experts)} at {size}, gates in the graph, top {many.top_k} "
        f"takes {ratio.value:.2f} times as long as top {few.top_k} "
        f"({ratio.low:.2f} to {ratio.high:.2f})."
    )


def _is_one(ratio: Estimate) -> bool:
    return ratio.low <= 1 <= ratio.high


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
        f"Each expert adds {_size(each)}, {each / merged:.1%} of the merged network's "
        f"{_size(merged)}; beyond {_experts(beyond)} the mixture is more than twice as large."
    )


def _size(number: float) -> str:
    return f"{number / 1e6:.3g} MB"


def _experts(count: int) -> str:
    return f"{count} expert{'s'[: count != 1]}"
