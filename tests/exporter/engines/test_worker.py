"""What the worker does beside building: timings, plugins, their types. No library is needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorair.exporter.engines import worker as engine_worker
from lorair.exporter.engines.proof import prove
from lorair.runtime.bundle.engines import Depends, Proof
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


def test_plugins_are_there_before_the_parser_and_go_into_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    builder = SimpleNamespace(
        get_plugin_registry=lambda: SimpleNamespace(load_library=done.append),
        build_serialized_network=lambda *_: b"plan",
    )
    config = SimpleNamespace()
    logger = type("Logger", (), {"INFO": 0, "__init__": lambda *_: None})
    trt = SimpleNamespace(Builder=lambda _: builder, Logger=logger)
    monkeypatch.setattr(engine_worker, "import_module", lambda _: trt)
    monkeypatch.setattr(engine_worker, "_monitor", lambda *_: None)
    monkeypatch.setattr(engine_worker, "make_config", lambda *_: config)
    proof = Proof(source="a test", products=())
    monkeypatch.setattr(engine_worker, "prove", lambda *_, **__: proof)
    monkeypatch.setattr(engine_worker, "parse", lambda *_: done.append("parsed") or (None, None))
    depends = Depends.model_construct(flavour="tensorrt", branch="restorer", precision="fp16")
    paths = {name: tmp_path / name for name in ("graph", "model", "output", "plugin")}
    paths["graph"].touch()
    job = engine_worker.Job.model_construct(depends=depends, timing_cache=None, **paths)
    library = str(paths["plugin"])
    with pytest.raises(EngineError, match=r"does not load the plugins .*plugin: wanted a library"):
        engine_worker.build(job, None)  # what load_library gave was nothing
    registry = SimpleNamespace(load_library=lambda path: [done.append(path)])
    builder.get_plugin_registry = lambda: registry
    engine_worker.build(job, None)
    assert done == [library, library, "parsed"]
    assert config.plugins_to_serialize == [library]
    assert paths["output"].read_bytes() == b"plan"
