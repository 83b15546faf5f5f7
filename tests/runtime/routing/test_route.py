import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lorair.runtime.routing.route import Route, gates_from_logits

logits = arrays(np.float32, st.integers(1, 16), elements=st.floats(-50, 50, width=32))


@given(logits, st.integers(1, 16))
def test_gates_against_sorting(values: np.ndarray, top_k: int) -> None:
    top_k = min(top_k, len(values))
    found = gates_from_logits(values, top_k)
    np.testing.assert_allclose(found, reference.top_k_gates(values, top_k), atol=1e-6)
    assert found.dtype == np.float32
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(found) <= top_k


def test_of_equal_logits_the_first_counts() -> None:
    assert gates_from_logits([1, 1, 1], 1).tolist() == [1, 0, 0]


def test_route_describes_itself() -> None:
    gates = np.array([0.2, 0.8, 0.0], np.float32)
    route = Route(
        np.array([0.1, 2, -1], np.float32), gates, np.zeros(4, np.float32), ("a", "b", "c")
    )
    assert route.top == "b"
    assert route.summary() == "b 0.80, a 0.20, c 0.00"
    assert route.to_dict()["class"] == "b"
    likely = np.exp([0.1, 2, -1]) / np.exp([0.1, 2, -1]).sum()
    assert list(route.to_dict()["probabilities"].values()) == pytest.approx(likely.tolist())
    alone = route.with_gates(np.array([0, 1, 0], np.float32))
    assert alone.summary() == "b 0.83, a 0.12, c 0.04", "its gate of 1 would say nothing"
    other = route.with_gates(np.array([1, 0, 0], np.float32))
    assert other.summary() == "a 1.00, b 0.00, c 0.00", "somebody else's choice"
    assert route.to_dict()["gates"]["a"] == pytest.approx(0.2)
