import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from lorair.runtime.errors import OutputError
from lorair.runtime.system.atomic import atomic_file, atomic_folder, check_writable, owned_folder


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.txt"
    with atomic_file(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert partial.suffix == ".txt"
    assert path.read_text() == "new"
    assert names(path.parent) == ["out.txt"]
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode, "the usual permissions"


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    full = pytest.raises(OutputError, match=r"cannot write .*out\.txt: found No space left")
    with full, atomic_file(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """A folder that is to be replaced, in a folder of its own."""
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    return path


def test_a_folder_replaces_a_folder_or_leaves_it(final: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(final) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert names(final) == ["old"]
    with atomic_folder(final) as folder:
        (folder / "new").touch()
        assert names(final) == ["old"]
    assert names(final) == ["new"]
    assert names(final.parent) == ["bundle"]


def test_a_failed_rename_moves_the_old_folder_back(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, moved = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        if ".partial" in self.name and moved:
            raise OSError(5, "Input/output error")
        result = rename(self, target)
        moved.append(target)
        return result

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="Input/output error"), atomic_folder(final) as folder:
        (folder / "new").touch()
    assert len(moved) == 2, "moved aside and back"
    assert names(final) == ["old"]
    assert names(final.parent) == ["bundle"]


def test_writers_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    final = tmp_path / "bundle"

    def write(number: int) -> None:
        with atomic_folder(final) as folder:
            (folder / "a").write_text(str(number))
            (folder / "b").write_text(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert names(tmp_path) == ["bundle"]
    assert (final / "a").read_text() == (final / "b").read_text()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "link") as folder:
            (folder / content).touch()
    assert names(tmp_path / "real") == ["second"]
    assert names(tmp_path) == ["link", "real"]


@contextmanager
def another_process(block: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is inside the `with` block of this expression; `kill` kills it there."""
    code = f"""
import sys
from pathlib import Path
from lorair.runtime.system import atomic
with {block} as folder:
    (folder / "half").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
        process.kill()


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    block = f"atomic.atomic_folder(Path({str(tmp_path / 'bundle')!r}))"
    (tmp_path / ".mine.partial").mkdir()
    with another_process(block) as killed:
        killed.kill()
        killed.wait()
        assert len(names(tmp_path)) == 2
        with another_process(block):
            assert len(names(tmp_path)) == 2, "the killed one's is removed"
            with atomic_folder(tmp_path / "other") as folder:
                assert len(names(tmp_path)) == 3, "a living one's is not"
                (folder / "new").touch()
    assert "other" in names(tmp_path)
    assert ".mine.partial" in names(tmp_path)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_a_killed_writer_moved_aside(tmp_path: Path, replaced: bool) -> None:
    """It is put back where nothing took its place, and goes otherwise."""
    final, aside = tmp_path / "bundle", tmp_path / ".bundle.0123456789ab.old"
    aside.mkdir()
    (aside / "old").touch()
    if replaced:
        final.mkdir()
    with pytest.raises(KeyboardInterrupt), atomic_folder(final):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["bundle"]
    assert names(final) == ([] if replaced else ["old"])


def test_a_temporary_folder_is_private_and_goes_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with another_process("atomic.owned_folder('ours-')") as process:
        with owned_folder("ours-") as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            assert len(names(tmp_path)) == 2
        process.kill()
        process.wait()
        assert len(names(tmp_path)) == 1
        with owned_folder("others-"):
            assert len(names(tmp_path)) == 2
        with owned_folder("ours-") as folder:
            assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == []


def test_folders_without_locks_are_never_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")  # what NFS answers

    monkeypatch.setattr("fcntl.flock", none_here)
    with atomic_folder(tmp_path / "a") as first, atomic_folder(tmp_path / "b") as second:
        (first / "1").touch()
        (second / "2").touch()
    assert names(tmp_path) == ["a", "b"]


def test_check_writable_creates_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "c.png")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="wanted a folder"):
        check_writable(tmp_path / "file" / "c.png")
