import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lorair.exporter.verify import search as module
from lorair.exporter.verify.report import explain
from lorair.exporter.verify.search import Bisection, block_of, differences
from lorair.exporter.verify.watch import Statistics, Value

NODES = ("intro/Conv", "encoders.0.blocks.0.conv1/Conv", "Gelu", "encoders.0.blocks.1/Conv")


class Recorded:
    """Stands for a graph: gives recorded values, and remembers what was asked for at once."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self.names = set(arrays)
        self.asked: list[list[str]] = []

    def fetch(self, names: Sequence[str], inputs: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(list(names))
        return {name: self.arrays[name] for name in names}

    def statistics(self, wanted: Sequence[Value]) -> Callable[[Any], dict[str, Statistics]]:
        found = {
            value.name: Statistics(
                float(np.abs(array).max()) if np.isfinite(array).all() else math.inf,
                int((~np.isfinite(array)).sum()),
                array.size,
            )
            for value in wanted
            if (array := self.arrays[value.name]) is not None
        }
        return lambda inputs: found


def search(wanted: dict[str, Any], found: dict[str, Any], tolerance: float = 0.01) -> Any:
    values = [Value(name, name, "Conv", is_half=False) for name in NODES]
    sides: Any = Recorded(wanted), Recorded(found)
    return Bisection("restorer", "p.png", tolerance, differences(*sides, values, {}))


def arrays(**changes: Any) -> dict[str, Any]:
    ones = {name: np.array([1.0, -2.0]) for name in NODES}
    return ones | {NODES[int(key[1:])]: np.array(value) for key, value in changes.items()}


def test_the_first_beyond_the_tolerance() -> None:
    found = search(arrays(), arrays(n1=[1.0, -2.019], n2=[1.03, -2.0], n3=[9.0, -2.0]))
    assert found.first.node == NODES[2]
    assert found.first.error == pytest.approx(0.015)
    assert found.first_not_finite is None
    assert "Gelu, on p.png: the first value that differs, by 0.015" in explain(found)


def test_none_beyond_the_tolerance() -> None:
    found = search(arrays(), arrays(n1=[1.0, -2.019]))
    assert found.first is None
    assert f"0.0095, at {NODES[1]}" in explain(found)
    assert "the same in every value" in explain(search(arrays(), arrays()))


def test_the_first_that_is_not_finite() -> None:
    wanted = arrays(n2=[70000.0, 1.0])
    found = search(wanted, arrays(n2=[math.inf, 1.0], n3=[math.nan, math.inf]))
    assert (found.first_not_finite.node, found.first_not_finite.not_finite) == (NODES[2], 1)
    assert [step.not_finite for step in found.steps] == [0, 0, 1, 2]
    assert "reaches 7e+04, float16 ends at 65504: build with --fp32" in explain(found)
    both = search(arrays(n3=[math.nan, 1]), arrays(n3=[math.nan, 1]))
    assert both.first_not_finite_in_reference.node == NODES[3]
    assert "look at the weights" in explain(both)


def test_values_of_no_magnitude() -> None:
    zeros = arrays(n0=[0.0, 0.0])
    assert search(zeros, zeros).first is None
    assert search(zeros, arrays(n0=[0.0, 1e-3])).first.node == NODES[0]


def test_blocks() -> None:
    found = search(arrays(), arrays(n1=[1.02, -2.0], n3=[math.inf, 0.0]))
    rows = [(b.name, b.largest_error, b.last_error) for b in found.blocks]
    assert rows == [
        ("intro", 0, 0),
        ("encoders.0.blocks.0", pytest.approx(0.01), 0),
        ("encoders.0.blocks.1", None, None),
    ]


@pytest.mark.parametrize(
    ("node", "block"),
    [
        ("encoders.3.blocks.27.sca.1/LoRAMoEConv", "encoders.3.blocks.27"),
        ("encoders.3.conv4/LoRAMoEConv", "encoders.3"),
        ("middle_blks.blocks.0.conv1/NormLoRAMoEConv", "middle_blks.blocks.0"),
        ("ups.0.0/LoRAMoEConv", "ups.0"),
        ("a.encoder.layers.11.mlp/MatMul_2", "a.encoder.layers.11"),
        ("Add_2", ""),
    ],
)
def test_block_of(node: str, block: str) -> None:
    assert block_of(node) == block


def test_few_values_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 20)
    values = [Value(name, name, "Conv", is_half=False) for name in NODES]
    wanted: Any = Recorded(arrays(n2=[1.0] * 9))
    found: Any = Recorded(arrays(n2=[1.0] * 9))
    steps = differences(wanted, found, values, {})
    assert found.asked == wanted.asked == [list(NODES[:2]), [NODES[2]], [NODES[3]]]
    assert [step.node for step in steps] == list(NODES)
