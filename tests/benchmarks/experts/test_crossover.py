"""Sentences from made-up numbers, computed here by hand."""

from typing import Any

import pytest
from results import row

from lorair.benchmarks.experts.crossover import sentences

STEADY = [0.1, 0.11, 0.09, 0.1, 0.1, 0.12, 0.1]
"""Noise that hits a round, and so both forms."""


def pair(experts: int, factor: float, **fields: Any) -> Any:
    """Merged, and gates that take `factor` times as long in each round."""
    merged_bytes, gates_bytes = 1_000_000, 1_000_000 + 100_000 * experts
    switch = None if experts == 1 else 0.5
    yield row("merged", experts, STEADY, bundle_bytes=merged_bytes, switch_seconds=switch, **fields)
    slower = [s * factor for s in STEADY]
    yield row("gates", experts, slower, bundle_bytes=gates_bytes, switch_seconds=0, **fields)


def text(*rows: Any) -> str:
    return " ".join(sentences(rows))


def test_the_cost_of_each_number_of_experts_and_size() -> None:
    rows = [*pair(1, 1.0), *pair(4, 1.25), *pair(4, 1.5, height=64)]
    found = text(*rows)
    assert "At 32x32 gates in the graph cost, against merged weights, +0% with 1 expert" in found
    assert "+25% with 4 experts (+25% to +25%)" in found
    assert "At 64x32 gates in the graph cost, against merged weights, +50% with 4 experts" in found


def test_merging_pays_after_the_time_of_a_switch_over_what_is_saved() -> None:
    """0.5 s over 25 ms are 20 pictures: it takes more."""
    found = text(*pair(1, 1.1), *pair(4, 1.25))
    assert "used for more than 20 pictures (0.50 s over 25.0 ms) with 4 experts" in found
    assert "with 1 expert (time" not in found, "one expert has one route"


@pytest.mark.parametrize("factor", [1.0, 0.8])
def test_what_saves_nothing_never_pays(factor: float) -> None:
    assert "no number that could be measured" in text(*pair(4, factor))


def test_top_k() -> None:
    same = [*pair(4, 1.2), *pair(4, 1.2, top_k=4)]
    assert "top_k makes no difference that could be measured: with 4 experts" in text(*same)
    slower = [*pair(4, 1.2), *pair(4, 1.8, top_k=4)]
    assert "top_k matters: with 4 experts at 32x32, gates in the graph, top 4 takes 1.50" in text(
        *slower
    )
    assert "top_k" not in text(*pair(4, 1.2))


def test_bytes() -> None:
    """1 MB and 0.1 MB for each expert: with ten it is 2 MB, with eleven more than twice."""
    found = text(*pair(2, 1.2), *pair(8, 1.2))
    assert "Each expert adds 0.1 MB, 10.0% of the merged network's 1 MB" in found
    assert "beyond 10 experts the mixture is more than twice as large" in found


def test_a_run_that_says_nothing() -> None:
    assert sentences([]) == ()
    short = [row(form, 2, [0.1] * 5) for form in ("merged", "gates")]
    assert sentences([*short, row("fused", 2, [], note="no GPU")]) == ()
