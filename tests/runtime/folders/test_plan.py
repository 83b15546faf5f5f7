"""Which pictures are taken and where results go."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorair.runtime.errors import OptionError, OutputError, PictureError
from lorair.runtime.folders.plan import plan


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def planned(*arguments: object, root: Path, **options: object) -> list[tuple[str, str]]:
    tasks = plan(*arguments, **options)  # type: ignore[arg-type]
    return [
        (t.source.relative_to(root).as_posix(), t.target.relative_to(root).as_posix())
        for t in tasks
    ]


def test_a_folder_s_pictures_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "in", "b.PNG", "a.jpg", "notes.txt", ".hidden.png", "deep/c.png")
    assert planned([tmp_path / "in"], tmp_path / "out", root=tmp_path) == [
        ("in/a.jpg", "out/a.restored.png"),
        ("in/b.PNG", "out/b.restored.png"),
    ]


def test_the_tree_is_mirrored(tmp_path: Path) -> None:
    touch(tmp_path / "in", "z.png", "x/a.png", "x/y/a.png", ".git/a.png")
    found = planned([tmp_path / "in"], tmp_path / "out", root=tmp_path, recursive=True)
    assert found == [
        ("in/x/a.png", "out/x/a.restored.png"),
        ("in/x/y/a.png", "out/x/y/a.restored.png"),
        ("in/z.png", "out/z.restored.png"),
    ]


@pytest.mark.parametrize(
    ("pattern", "wanted"), [("a*", {"a.x", "s/a.x"}), ("s/*", {"s/a.x", "s/b.png"})]
)
def test_glob(pattern: str, wanted: set[str], tmp_path: Path) -> None:
    touch(tmp_path, "a.x", "s/a.x", "s/b.png", "b.png", "t/b.png")
    tasks = plan([tmp_path], None, recursive=True, pattern=pattern)
    assert {t.source.relative_to(tmp_path).as_posix() for t in tasks} == wanted


def test_earlier_results_and_the_output_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.restored.png", "out/other.png", "outer/b.png")
    found = planned([tmp_path], tmp_path / "out", root=tmp_path, recursive=True)
    assert [source for source, _ in found] == ["a.png", "outer/b.png"]
    again = planned([tmp_path], tmp_path, root=tmp_path)
    assert again == [("a.png", "a.restored.png")]


def test_a_folder_named_like_a_picture_is_reported_unless_it_is_entered(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x.png/b.png")
    assert [t.source.name for t in plan([tmp_path], None)] == ["a.png", "x.png"]
    assert [t.source.name for t in plan([tmp_path], None, recursive=True)] == ["a.png", "b.png"]


def test_clashes_name_both(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png")
    with pytest.raises(OutputError, match=r"cannot restore .*a\.png: .* which is .*a\.jpg's"):
        plan([tmp_path], tmp_path / "out")
    touch(tmp_path / "one", "b.png")
    touch(tmp_path / "two", "b.png")
    with pytest.raises(OutputError, match=r"two/b\.png: .* which is .*one/b\.png's"):
        plan([tmp_path / "one", tmp_path / "two"], tmp_path / "out")


def test_a_folder_needs_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "file.png")
    with pytest.raises(OptionError, match="wanted a folder, found the file"):
        plan([tmp_path / "in"], tmp_path / "file.png")
    (tmp_path / "in" / "a.png").unlink()
    with pytest.raises(PictureError, match="or add --recursive"):
        plan([tmp_path / "in"], None)


NAMES = st.from_regex(r"[ab](\.restored)?\.(png|jpg|txt)", fullmatch=True)
FILES = st.sets(
    st.lists(st.sampled_from("pq"), max_size=2).flatmap(
        lambda folders: NAMES.map(lambda name: "/".join((*folders, name)))
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20, deadline=None)
@given(FILES, st.booleans(), st.sampled_from([None, ".", "out", "p", "elsewhere"]))
def test_no_plan_touches_an_input_or_a_file_twice(
    files: set[str], recursive: bool, output: str | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        touch(root / "in", *files)
        target = None if output is None else root / "in" / output
        if output == "elsewhere":
            target = root / output
        try:
            tasks = plan([root / "in"], target, recursive=recursive)
        except (OutputError, PictureError):
            return
        sources = [task.source for task in tasks]
        targets = [task.target for task in tasks]
        everything = {root / "in" / file for file in files}
        assert sources == sorted(set(sources))
        assert set(sources) <= everything
        assert len(set(targets)) == len(targets)
        assert not set(targets) & set(sources)
        assert not set(targets) & {f for f in everything if ".restored" not in f.name}
        for task in tasks:
            home = root / "in" if target is None else target
            wanted = home / task.source.relative_to(root / "in").parent
            assert task.target == wanted / f"{task.source.stem}.restored.png"
