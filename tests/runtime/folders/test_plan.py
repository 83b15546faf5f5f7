"""Which pictures are taken and where results go."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorair.runtime.errors import OptionError, OutputError, PictureError
from lorair.runtime.folders.left_out import summary
from lorair.runtime.folders.plan import note_on_names, plan
from lorair.runtime.images import Encoding, heic
from lorair.runtime.system.extras import install_command


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def planned(*arguments: object, root: Path, **options: object) -> list[tuple[str, str]]:
    tasks = plan(*arguments, **options).tasks  # type: ignore[arg-type]
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
    tasks = plan([tmp_path], None, recursive=True, pattern=pattern).tasks
    assert {t.source.relative_to(tmp_path).as_posix() for t in tasks} == wanted


def test_earlier_results_and_the_output_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.restored.png", "out/other.png", "outer/b.png")
    found = planned([tmp_path], tmp_path / "out", root=tmp_path, recursive=True)
    assert [source for source, _ in found] == ["a.png", "outer/b.png"]
    again = planned([tmp_path], tmp_path, root=tmp_path)
    assert again == [("a.png", "a.restored.png")]


def test_a_folder_named_like_a_picture_is_reported_unless_it_is_entered(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x.png/b.png")
    found, entered = (plan([tmp_path], None, recursive=r).tasks for r in (False, True))
    assert [task.source.name for task in found] == ["a.png", "x.png"]
    assert [task.source.name for task in entered] == ["a.png", "b.png"]


def test_what_is_no_task_is_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is a task or named; hidden ones, results and what a pattern drops are neither."""
    monkeypatch.setattr(heic, "is_available", lambda: False)
    names = ("a.HEIC", "b.heic", "c.NEF", "d.mp4", "e.jxl", "f.txt", "g", "x/y.cr3", "p.jfif")
    touch(tmp_path, *names, "p.restored.png", ".hidden")
    found = plan([tmp_path], None)
    assert [task.source.name for task in found.tasks] == ["p.jfif"]
    assert summary(found.left_out) == (
        f"8 left out: 2 .heic ({install_command('heic')} brings what reads it), "
        "1 .jxl (export it as PNG or TIFF first), 1 .mp4 (a video: lorair-run video restores it), "
        "1 .nef (raw: develop it first), 1 .txt, 1 without an ending (no picture), "
        "1 folder (--recursive enters it)"
    )
    entered = plan([tmp_path], None, recursive=True).left_out
    assert {"input": str(tmp_path / "x" / "y.cr3"), "reason": "raw: develop it first"} in [
        one.to_dict() for one in entered
    ]
    assert plan([tmp_path], None, pattern="p.*", recursive=True).left_out == []
    (tmp_path / "p.jfif").unlink()
    with pytest.raises(PictureError, match=r"found none; 8 left out: .* 1 \.nef \(raw: develop"):
        plan([tmp_path], None)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ["a.jpg.restored.png", "a.png.restored.png", "b.restored.png"]),
        # The results differ, the comparisons would not.
        (
            {"encoding": Encoding("same"), "compare": True},
            ["a.jpg.restored.jpg", "a.png.restored.png", "b.restored.png"],
        ),
        ({"encoding": Encoding("same")}, ["a.restored.jpg", "a.restored.png", "b.restored.png"]),
    ],
)
def test_pictures_that_differ_by_their_endings(
    options: dict[str, Any], wanted: list[str], tmp_path: Path
) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.gif")
    found = plan([tmp_path], tmp_path / "out", **options)
    assert [task.target.name for task in found.tasks] == wanted
    note = note_on_names(found.tasks)
    assert note is None or note.startswith("2 pictures differ by their endings only")
    assert (note is not None) == ("a.jpg.restored" in wanted[0])
    again = plan([tmp_path], tmp_path / "out", **options)
    assert again == found, "a run that is continued finds its results"


def test_clashes_name_both(tmp_path: Path) -> None:
    touch(tmp_path / "one", "b.png")
    touch(tmp_path / "two", "b.png")
    with pytest.raises(OutputError, match=r"two/b\.png: .* which is the output of .*one/b\.png"):
        plan([tmp_path / "one", tmp_path / "two"], tmp_path / "out")


def test_a_folder_needs_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "file.png")
    with pytest.raises(OptionError, match="wanted a folder, found the file"):
        plan([tmp_path / "in"], tmp_path / "file.png")
    (tmp_path / "in" / "a.png").unlink()
    with pytest.raises(PictureError, match="found none; check the path"):
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
            tasks = plan([root / "in"], target, recursive=recursive).tasks
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
            twins = [s for s in sources if s.with_suffix("") == task.source.with_suffix("")]
            name = task.source.name if len(twins) > 1 else task.source.stem
            assert task.target == wanted / f"{name}.restored.png"
