import json
import os
from pathlib import Path

import numpy as np
import pytest
from command import Command

from lorair import Restorer
from lorair.runtime.system import cache


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv(cache.VARIABLE, str(path))
    return path


def fill(folder: Path) -> None:
    (folder / "graph").write_bytes(b"x" * 1000)


def fail(_: Path) -> None:
    raise AssertionError("it is there already")


def test_an_entry_is_made_once(root: Path) -> None:
    name = cache.entry_name("backend", 1)
    entry = cache.fetch(name, fill)
    assert entry == root / name
    assert (entry / "graph").read_bytes() == b"x" * 1000
    assert cache.fetch(name, fail) == entry
    cache.forget(entry)
    assert not entry.exists()


def test_names_follow_everything_an_entry_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    name = cache.entry_name("backend", "1.0", "content", None)
    assert name == cache.entry_name("backend", "1.0", "content", None)
    others = {cache.entry_name("backend", "1.1", "content", None), cache.entry_name("backend1.0")}
    monkeypatch.setattr(cache, "processor", lambda: "another processor")
    others.add(cache.entry_name("backend", "1.0", "content", None))
    assert len(others | {name}) == 4


def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value in ("off", "OFF", "0", "none"):
        monkeypatch.setenv(cache.VARIABLE, value)
        assert cache.folder() is None
        assert cache.fetch("name", fail) is None
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "below"))
    assert cache.fetch("name", fill) is None, "an unwritable place costs no picture"
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "lorair")
    assert cache.folder() == tmp_path / "lorair"


def test_a_failed_entry_leaves_nothing(root: Path) -> None:
    def half(folder: Path) -> None:
        fill(folder)
        raise OSError("disk full")

    assert cache.fetch("name", half) is None
    assert list(root.iterdir()) == []


def test_the_least_recently_used_go_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 2500)
    a, b, c = map(cache.entry_name, "abc")
    for age, name in ((300, a), (200, b)):
        entry = cache.fetch(name, fill)
        assert entry is not None
        os.utime(entry, (entry.stat().st_mtime - age,) * 2)
    cache.fetch(a, fail)  # used again, so b is now the oldest
    cache.fetch(c, fill)
    assert {entry.name for entry in root.iterdir()} == {a, c}
    assert cache.size(root) == 2000


def test_the_command_shows_and_clears(
    root: Path, lorair_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And touches nothing that is not an entry: somebody may have named a folder of their own."""
    shown = lorair_run("cache")
    assert (shown.code, f"{root}: 0 entries, 0 MB of at most 4 GiB" in shown.out) == (0, True)
    for name in "ab":
        cache.fetch(cache.entry_name(name), fill)
    (root / "photos").mkdir()
    found = json.loads(lorair_run("cache", "--json").out)
    assert (found["entries"], found["bytes"]) == (2, 2000)
    assert "0 entries" in lorair_run("cache", "--clear").out
    assert [path.name for path in root.iterdir()] == ["photos"]
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert "nothing is kept" in lorair_run("cache").out


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_restorers_keep_their_graphs_and_forget_broken_ones(
    backend: str, root: Path, tiny_bundle: Path, photo: np.ndarray
) -> None:
    def restored() -> np.ndarray:
        return Restorer.open(tiny_bundle, backend).restore(photo[:40, :50]).image

    wanted = restored()
    (entry,) = root.iterdir()
    np.testing.assert_array_equal(restored(), wanted)
    assert [e.name for e in root.iterdir()] == [entry.name]
    for file in entry.iterdir():
        file.write_bytes(b"broken")
    np.testing.assert_array_equal(restored(), wanted)
