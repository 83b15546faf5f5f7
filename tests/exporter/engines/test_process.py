"""How an engine's build begins, ends and fails; a stand-in writes the engines."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fake_worker
import pytest
from command import Command
from processes import is_alive, wait_for

from lorair.exporter.engines import build as engine
from lorair.exporter.engines import process as engine_process
from lorair.exporter.engines.build import BuiltEngine
from lorair.exporter.engines.worker import NestedProgress
from lorair.runtime.bundle.engines import read_engines
from lorair.runtime.bundle.manifest import Bundle

pytest.importorskip("tensorrt_rtx", reason="engines need TensorRT-RTX: pip install 'lorair[rtx]'")


build_engines = partial(engine.build_engines, routes="any")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where the stand-in leaves a file for each of its runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


Stand = Callable[[str], None]


@pytest.fixture
def stand_in(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Puts the stand-in in the worker's place."""

    def put(mode: str) -> None:
        monkeypatch.setattr(engine_process, "WORKER", worker(mode, runs))

    return put


def worker(mode: str, runs: Path) -> tuple[str, ...]:
    return (sys.executable, fake_worker.__file__, mode, str(runs))


def files(bundle: Bundle) -> list[str]:
    """In engines/, without the lock."""
    return sorted(p.name for p in (bundle.path / "engines").iterdir() if p.name != ".lock")


def process_of(run: Path) -> int:
    return int(run.name.partition(".")[0])


def test_what_is_there_is_not_built_again(bundle: Bundle, stand_in: Stand, runs: Path) -> None:
    stand_in("build")
    first = build_engines(bundle)
    assert [one.fresh for one in first] == [True, True]
    assert len(list(runs.iterdir())) == 2
    again = build_engines(bundle)
    assert [one.fresh for one in again] == [False, False]
    assert [one.record for one in again] == [one.record for one in first]
    assert len(list(runs.iterdir())) == 2
    assert [e.path for e in read_engines(bundle)] == sorted(one.path for one in first)


def test_a_damaged_engine_is_built_again(bundle: Bundle, stand_in: Stand) -> None:
    stand_in("build")
    router, restorer = build_engines(bundle)
    router.path.write_bytes(b"half and half"[:-1])
    restorer.path.write_bytes(b"half and HALF")
    assert [one.fresh for one in build_engines(bundle)] == [True, True]
    assert {engine.read() for engine in read_engines(bundle)} == {b"half and half"}


def test_a_changed_bundle_is_not_built_from(
    bundle: Bundle, stand_in: Stand, lorair_export: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large weights are not hashed when a bundle is opened."""
    stand_in("build")
    monkeypatch.setattr("lorair.runtime.bundle.manifest.HASHED_ON_OPEN", 0)
    data = bundle.path / "restorer.onnx.data"
    data.write_bytes(bytes(data.stat().st_size))
    result = lorair_export("engine", bundle.path)
    assert result.code == 2
    assert "restorer.onnx.data as it was built" in result.error


def test_of_two_builds_at_once_one_builds_and_one_waits(
    bundle: Bundle, stand_in: Stand, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("wait")
    notes: list[str] = []
    monkeypatch.setattr("lorair.runtime.system.console.note", notes.append)
    built: list[list[BuiltEngine]] = []
    threads = [
        threading.Thread(target=lambda: built.append(build_engines(bundle))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: notes and list(runs.iterdir()))
    (runs / "go").touch()
    for thread in threads:
        thread.join()
    assert len(list(runs.glob("*.r*"))) == 2
    assert sorted(one.fresh for result in built for one in result) == [False, False, True, True]
    assert "another build is at work" in notes[0]


def test_an_abort_is_an_error_with_a_log(
    bundle: Bundle, stand_in: Stand, lorair_export: Command
) -> None:
    stand_in("abort")
    result = lorair_export("engine", bundle.path)
    assert result.code == 1
    assert "tensorrt_rtx ended its process while building the router's engine" in result.error
    assert "SIGABRT" in result.error
    (log,) = files(bundle)
    log_path = bundle.path / "engines" / log
    assert str(log_path) in result.error
    assert "a last word" in log_path.read_text()
    stand_in("build")
    build_engines(bundle)
    assert log not in files(bundle)


def test_a_timeout_ends_the_child(
    bundle: Bundle, stand_in: Stand, lorair_export: Command, runs: Path, monkeypatch: Any
) -> None:
    stand_in("hang")

    def timer(seconds: float, kill: Callable[[], None]) -> threading.Timer:
        return threading.Timer(seconds, lambda: wait_for(lambda: [*runs.iterdir()]) and kill())

    monkeypatch.setattr(engine_process, "Timer", timer)
    result = lorair_export("engine", bundle.path, "--timeout", 1)
    assert result.code == 1
    assert "wanted at most 1 s" in result.error
    assert "--timeout" in result.error
    (run,) = runs.iterdir()
    assert not is_alive(process_of(run))
    assert [Path(name).suffix for name in files(bundle)] == [".log"]


def test_cancelling_ends_the_child_and_leaves_nothing(
    bundle: Bundle, stand_in: Stand, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is a KeyboardInterrupt wherever the parent waits, here at a progress line."""
    stand_in("hang")

    def cancelled(*_: object) -> None:
        wait_for(lambda: list(runs.iterdir()))
        raise KeyboardInterrupt

    whole = engine.run_worker
    monkeypatch.setattr(engine, "run_worker", lambda *args: whole(*args[:-1], cancelled))
    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle)
    (run,) = runs.iterdir()
    assert not is_alive(process_of(run))
    assert files(bundle) == []


def test_kill_9_leaves_nothing_that_is_taken_for_an_engine(
    bundle: Bundle, stand_in: Stand, runs: Path, tmp_path: Path
) -> None:
    code = (
        "from lorair.exporter.commands import main; from lorair.exporter.engines import process; "
        f"process.WORKER = {worker('hang', runs)!r}; main.main()"
    )
    arguments = [sys.executable, "-c", code, "engine", str(bundle.path)]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment) as process:
        (run,) = wait_for(lambda: list(runs.iterdir()))
        process.kill()
    wait_for(lambda: not is_alive(process_of(run)))
    assert read_engines(bundle) == []
    assert list(temporary.iterdir()) == []
    left = files(bundle)
    assert [name.startswith(".") for name in left] == [True, True, False], "engine, graph, log"
    Bundle.open(bundle.path).verify()
    stand_in("build")
    assert all(one.fresh for one in build_engines(bundle))
    assert {Path(name).suffix for name in files(bundle)} == {".engine", ".json"}
    assert len(read_engines(bundle)) == 2


def test_inspect_shows_engines_and_what_is_wrong_with_them(
    bundle: Bundle, stand_in: Stand, lorair_export: Command
) -> None:
    stand_in("build")
    router, restorer = build_engines(bundle)
    router.path.write_bytes(b"half")
    shown = lorair_export("inspect", bundle.path).out
    assert router.path.stem in shown
    assert "found 4 bytes" in shown
    assert restorer.path.stem in shown
    assert "any RTX card from Ampere on" in shown


def test_progress_never_goes_back_and_ends_at_one() -> None:
    progress = NestedProgress()
    seen = [progress.fraction]
    progress.start("all", None, 2)
    progress.start("part", "all", 4)
    for _ in range(4):
        progress.advance("part")
        seen.append(progress.fraction)
    progress.finish("part")
    progress.advance("all")
    seen.append(progress.fraction)
    progress.start("more", "all", 0)
    progress.finish("more")
    progress.advance("all")
    seen.append(progress.fraction)
    assert seen == [0, 0.125, 0.25, 0.375, 0.5, 0.5, 1]
