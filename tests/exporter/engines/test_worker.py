"""What the worker does beside building: timings, plugins, their types. No library is needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorair.exporter.engines import worker as engine_worker
from lorair.exporter.engines.proof import prove
from lorair.runtime.errors import EngineError

FUSED, CONVOLUTION = "PLUGIN_V3", "CONVOLUTION"


class Config:
    """A builder's, which takes the timings of one GPU and adds a time at each build."""

    def create_timing_cache(self, content: bytes) -> bytes | None:
        return None if content == b"no cache" else content

    def set_timing_cache(self, cache: bytes, *, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return ignore_mismatch or cache != b"another GPU"

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.cache + b"+time")


def test_timings_are_read_and_written_back(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "timings"
    for wanted in (b"+time", b"+time+time"):
        with engine_worker.timings(Config(), file):
            pass
        assert file.read_bytes() == wanted
        assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"no cache", b"another GPU"])
def test_other_timings_are_an_error(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "timings"
    file.write_bytes(content)
    with (
        pytest.raises(EngineError, match=r"cannot use the timing cache .* remove it"),
        engine_worker.timings(Config(), file),
    ):
        pytest.fail("was used")
    assert file.read_bytes() == content


def test_a_failed_build_writes_no_timings(tmp_path: Path) -> None:
    with pytest.raises(EngineError), engine_worker.timings(Config(), tmp_path / "timings"):
        raise EngineError("failed")
    assert list(tmp_path.iterdir()) == []


def network(kind: str, types: dict[str, str]) -> Any:
    """Of one layer; tensors by name and type, the last its result."""
    tensors = [SimpleNamespace(name=n, dtype=SimpleNamespace(name=t)) for n, t in types.items()]
    layer = SimpleNamespace(
        name="conv4",
        type=SimpleNamespace(name=kind),
        num_inputs=len(tensors) - 1,
        num_outputs=1,
        get_input=lambda i: tensors[i],
        get_output=lambda _: tensors[-1],
    )
    return SimpleNamespace(
        num_inputs=2,
        get_input=lambda i: tensors[i],
        num_layers=1,
        get_layer=lambda _: layer,
    )


def test_the_types_of_fused_operators_are_proven() -> None:
    halves = {"image": "HALF", "gates": "FLOAT", "weight": "HALF", "y": "HALF"}
    (product,) = prove(network(FUSED, halves), "restorer", "fp16").products
    assert (product.kind, product.role) == ("fused operator", "picture")
    assert product.types == ("float16",) * 3
    for kind, types in ((FUSED, halves | {"weight": "FLOAT"}), (CONVOLUTION, halves)):
        with pytest.raises(EngineError, match="the restorer's network is not fp16"):
            prove(network(kind, types), "restorer", "fp16")
