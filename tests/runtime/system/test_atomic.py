from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lorair.runtime.errors import OutputError
from lorair.runtime.system.atomic import atomic_file, atomic_folder, check_writable


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


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot write .*out\.txt: found No space left"),
        atomic_file(tmp_path / "out.txt"),
    ):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    final = tmp_path / "bundle"
    final.mkdir()
    (final / "old").touch()
    with atomic_folder(final) as folder:
        (folder / "new").touch()
        assert names(final) == ["old"]
    assert names(final) == ["new"]
    assert names(tmp_path) == ["bundle"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    final = tmp_path / "bundle"
    final.mkdir()
    (final / "old").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(final) as folder:
        (folder / "new").touch()
        raise KeyboardInterrupt
    assert names(final) == ["old"]
    assert names(tmp_path) == ["bundle"]


def test_a_failed_rename_moves_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "bundle"
    final.mkdir()
    (final / "old").touch()
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
    assert names(tmp_path) == ["bundle"]


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


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_file(tmp_path / "new") as partial:
        partial.touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_check_writable_creates_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "c.png")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="wanted a folder"):
        check_writable(tmp_path / "file" / "c.png")
