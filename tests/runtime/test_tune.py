"""`lorair-run tune`: its order is `auto`'s until a library changes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from stub_backend import Stub

from lorair.runtime import tune
from lorair.runtime.backends import BACKENDS, BackendKind, choose, select
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system import cache
from lorair.runtime.tune import Timing

FASTEST = {"onnxruntime": 0.01, "openvino": 0.02}


@pytest.fixture
def bundle(default_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """With a cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return Bundle.open(default_bundle)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(kind: BackendKind, bundle: Bundle, seconds: float) -> Timing:
        took = FASTEST[kind.name]
        return Timing(kind.name, took, (took, 4 * took))

    monkeypatch.setattr(tune, "_in_process", timed)


@pytest.mark.usefixtures("made_up")
def test_auto_takes_what_was_measured_to_be_the_fastest(
    bundle: Bundle, lorair_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose(bundle).name == "openvino"
    rows = json.loads(lorair_run("tune", bundle.path, "--json").out)
    assert [row["name"] for row in rows[:2]] == ["onnxruntime", "openvino"]
    assert [round(row["seconds"], 6) for row in rows[:2]] == [0.07, 0.14]
    assert all(row.keys() == {"name", "lacks"} for row in rows[2:])
    assert {row["name"] for row in rows} == set(BACKENDS)
    assert all(row["lacks"] for row in rows[2:])
    assert choose(bundle).name == select("auto", bundle).name == "onnxruntime"
    assert "as `lorair-run tune` has measured" in lorair_run("doctor", "-b", bundle.path).out
    monkeypatch.setitem(FASTEST, "openvino", 0.001)
    shown = lorair_run("tune", bundle.path).out
    assert shown.index("openvino") < shown.index("onnxruntime")
    assert choose(bundle).name == "openvino"


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("what", ["library", "bundle", "threads", "file", "cache"])
def test_a_result_of_something_else_is_not_followed(
    what: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune.time_all(bundle, lambda *_: None)
    assert choose(bundle).name == "onnxruntime"
    if what == "library":
        monkeypatch.setattr("lorair.runtime.backends.backend.version", lambda name: "99.0")
    elif what == "bundle":
        bundle = Bundle(bundle.path, bundle.manifest.model_copy(update={"digest": "0" * 64}))
    elif what == "threads":
        monkeypatch.setattr("lorair.runtime.backends.tuned.default_threads", lambda: 77)
    elif what == "file":
        (kept,) = tmp_path.rglob("*.json")
        kept.write_text('{"onnxruntime": null, "openvino"')
    else:
        monkeypatch.setenv(cache.VARIABLE, "off")
    assert choose(bundle).name == "openvino"


@pytest.mark.usefixtures("made_up")
def test_without_a_cache_it_says_so(
    bundle: Bundle, lorair_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert "nothing is kept: the cache is off (LORAIR_CACHE)" in lorair_run("tune").err


class Timed(Stub):
    """A backend whose runs are recorded."""

    def __init__(self) -> None:
        super().__init__(lambda planes: planes)
        self.routed = 0

    def route(self, views: np.ndarray) -> Any:
        assert views.shape[1:3] == (5, 3)
        self.routed += 1


def test_a_backend_is_timed_on_the_router_and_both_sizes(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, clock = Timed(), iter(np.cumsum(np.arange(1000) % 2 * 0.25).tolist())
    monkeypatch.setattr(BackendKind, "open", lambda *_: stub)
    monkeypatch.setattr(tune.time, "perf_counter", lambda: next(clock))
    timing = tune.time_backend("onnxruntime", bundle.path, 3.0)
    assert timing == Timing("onnxruntime", 0.25, (0.25, 0.25))
    assert timing.seconds == 1.0
    # The first run and four more, a quarter of a second each, in a third of the time.
    assert (stub.routed, stub.sizes) == (5, [(256, 256)] * 5 + [(512, 512)] * 5)


def test_what_is_slow_is_not_timed_further(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    stub, clock = Timed(), iter(range(0, 40000, 40))
    monkeypatch.setattr(BackendKind, "open", lambda *_: stub)
    monkeypatch.setattr(tune.time, "perf_counter", lambda: next(clock))
    timing = tune.time_backend("onnxruntime", bundle.path, 3.0)
    assert timing.lacks == "the router took 40 s"
    assert (stub.routed, stub.sizes) == (1, [])


def test_a_backend_that_fails_is_passed_over(bundle: Bundle, tmp_path: Path) -> None:
    gone = Bundle(tmp_path / "gone", bundle.manifest)
    timing = tune._in_process(BACKENDS["onnxruntime"], gone, 1.0)
    assert timing.lacks is not None
    assert "no bundle at" in timing.lacks


def test_a_backend_that_ends_its_process_is_passed_over(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "time_backend", _die)
    timing = tune._in_process(BACKENDS["onnxruntime"], bundle, 1.0)
    assert timing == Timing("onnxruntime", lacks="its process ended while it was timed")


def _die(*_: object) -> None:
    raise SystemExit
