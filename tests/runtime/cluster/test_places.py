"""Pictures by URI: where they are found, and where results go."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorair.runtime.errors import OptionError, OutputError, PictureError
from lorair.runtime.folders.plan import Task
from lorair.runtime.images import Encoding

pytest.importorskip("pyarrow")
fsspec = pytest.importorskip("fsspec")

from lorair.runtime.cluster import places  # noqa: E402

PNG = Encoding()


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b 1.png",
        "b 1.jpg",
        "a%.jpg",
        "sub/c.png",
        "old.restored.png",
        ".hidden/d.png",
        ".e.png",
    ):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").touch()
    return tmp_path / "in"


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("compare", [False, True])
def test_a_uri_is_planned_as_a_path_is(
    folder: Path, tmp_path: Path, recursive: bool, compare: bool
) -> None:
    out = tmp_path / "o ut"

    def plan(source: str, target: str) -> places.RemotePlan:
        return places.plan(
            [source], target, recursive=recursive, encoding=Encoding("webp"), compare=compare
        )

    here = plan(str(folder), str(out))
    there = plan(folder.as_uri(), out.as_uri())
    assert len(here.tasks) == (4 if recursive else 3)
    assert (here.is_remote, there.is_remote) == (False, True)
    assert here.is_folder
    assert there.is_folder
    paths = [[Path(n) for n in (item.source, *item.written)] for item in here.tasks]
    uris = [[places.file_system(n)[1] for n in (i.source, *i.written)] for i in there.tasks]
    assert [list(map(str, row)) for row in paths] == uris
    left = [{places.file_system(o.place)[1]: o.reason for o in there.left_out}]
    assert left == [{str(folder / "notes.txt"): "no picture"}]


def test_paths_beside_uris_and_single_files(folder: Path, tmp_path: Path) -> None:
    found = places.plan([str(folder / "b 1.png")], "memory://results/x", encoding=PNG)
    assert not found.is_folder
    (item,) = found.tasks
    assert item.source == (folder / "b 1.png").as_uri()
    assert item.target == "memory://results/x/b%201.restored.png"
    only = places.plan([folder.as_uri()], tmp_path.as_uri(), pattern="b*.png", encoding=PNG)
    assert len(only.tasks) == 1


def test_what_cannot_be_planned(folder: Path, tmp_path: Path) -> None:
    uri = folder.as_uri()
    with pytest.raises(PictureError, match="nothing to restore"):
        places.plan([uri], tmp_path.as_uri(), pattern="*.bmp", encoding=PNG)
    with pytest.raises(PictureError, match="cannot list"):
        places.plan([f"{uri}/nowhere"], tmp_path.as_uri(), encoding=PNG)
    with pytest.raises(OutputError, match=r"b%201\.png named twice"):
        places.plan([uri, f"{uri}/b%201.png"], tmp_path.as_uri(), encoding=PNG)
    with pytest.raises(OptionError, match="PyArrow or fsspec"):
        places.plan(["nosuch://a/b"], tmp_path.as_uri(), encoding=PNG)


def test_to_a_store_and_back() -> None:
    name = "memory://shelf/sub/p%20q.png"
    with places.target_file(name) as path:
        assert path is not None
        assert path.name == "p q.png"
        path.write_bytes(b"whole")
    system = fsspec.filesystem("memory")
    assert system.cat("/shelf/sub/p q.png") == b"whole"
    assert len(system.ls("/shelf/sub")) == 1, "the temporary name is gone"
    with places.source_file(name) as path:
        assert path.read_bytes() == b"whole"
    with pytest.raises(RuntimeError), places.target_file(name) as path:
        raise RuntimeError
    assert system.cat("/shelf/sub/p q.png") == b"whole"
    missing = pytest.raises(PictureError, match="memory://shelf/none")
    with missing, places.source_file("memory://shelf/none"):
        pass


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_current(remote: bool, tmp_path: Path) -> None:
    source, target = picture(tmp_path / "a.png"), tmp_path / "a.restored.png"
    names = [path.as_uri() if remote else str(path) for path in (source, target)]
    task = Task(*names)
    assert not places.is_current(task)
    target.write_bytes(b"x")
    os.utime(source, ns=(0, 0))
    assert places.is_current(task)
    os.utime(source, ns=(0, target.stat().st_mtime_ns + 10**9))
    assert not places.is_current(task)
    os.utime(source, ns=(0, 0))
    target.write_bytes(b"")
    assert not places.is_current(task)
