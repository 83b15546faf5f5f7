"""Folders of pictures: bad ones, interruptions, a full disk."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from noise_files import contents, pictures
from PIL import Image
from processes import LIMIT, console_script, wait_for

from lorair import Restorer
from lorair.runtime.errors import PictureError
from lorair.runtime.folders.plan import Task
from lorair.runtime.folders.run import is_current
from lorair.runtime.system.atomic import remove_partials

SUPPORT = Path(__file__).parents[2] / "support"


def png_of(width: int, height: int) -> bytes:
    """A PNG's header that claims this size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def add_bad_ones(folder: Path) -> dict[str, str]:
    """Ten of different kinds -> a word of each one's reason."""
    whole = (folder / "p000.png").read_bytes()
    Image.open(folder / "p001.png").save(folder / "x.jpg")
    jpeg = (folder / "x.jpg").read_bytes()
    (folder / "x.jpg").unlink()
    for name, content in {
        "bad0.png": whole[:300],
        "bad1.jpg": jpeg[:200],
        "bad2.png": b"this is text",
        "bad3.png": b"",
        "bad4.png": png_of(0, 0) + whole[33:],
        "bad5.png": png_of(60_000, 60_000) + whole[33:],
        "bad6.png": whole[:60] + bytes(200) + whole[260:],
    }.items():
        (folder / name).write_bytes(content)
    (folder / "bad7.png").mkdir()
    (folder / "bad8.png").symlink_to(folder / "nowhere.png")
    Image.new("RGB", (1, 1)).save(folder / "bad9.png")
    words = ("", "", "12 bytes", "an empty file", "", "megapixels", "", "a folder", "no such file")
    names = sorted(path.name for path in folder.glob("bad*"))
    return dict(zip(names, (*words, "at least 2 pixels"), strict=True))


def test_bad_pictures_end_nothing(infer: Command, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 190)
    Image.open(folder / "p005.png").save(folder / "p005.jpg", "PNG")  # the ending lies: not bad
    (folder / "p005.png").unlink()
    bad = add_bad_ones(folder)
    report, out = tmp_path / "r.json", tmp_path / "out"
    command = partial(infer, folder, "-o", out, "--report", report, "--backend", "onnxruntime")
    result = command()
    assert result.code == 1
    assert "190 restored, 10 failed" in result.err
    entries = json.loads(report.read_text())["pictures"]
    sources = [Path(entry["input"]).name for entry in entries]
    assert sources == sorted(p.name for p in folder.iterdir())
    failed = {Path(e["input"]).name: e["error"] for e in entries if e["status"] == "failed"}
    assert failed.keys() == bad.keys()
    for name, word in bad.items():
        assert f"{name}: wanted" in failed[name]
        assert word in failed[name]
        assert f"error: {failed[name]}" in result.err
    assert set(contents(out)) == {f"p{number:03}.restored.png" for number in range(190)}
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = command()
    assert again.code == 1
    assert "0 restored, 190 skipped, 10 failed" in again.err
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def restored(bundle: Path, source: Path) -> np.ndarray:
    with Image.open(source) as image:
        found = Restorer.open(bundle, threads=1).restore(np.asarray(image)).image
    return found.astype(int)


def test_a_folder_gives_what_pictures_give_one_by_one(
    infer: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "in", 6, side=40)
    for jobs in (1, 3):
        infer(folder, "-o", tmp_path / f"out{jobs}", "--jobs", jobs, "--json")
    for source in sorted(folder.iterdir()):
        with Image.open(tmp_path / "out1" / f"{source.stem}.restored.png") as image:
            assert np.abs(np.asarray(image) - restored(tiny_bundle, source)).max() <= 1
    assert contents(tmp_path / "out1") == contents(tmp_path / "out3")


def test_killed_at_any_moment_and_continued(tmp_path: Path) -> None:
    folder, out, log = pictures(tmp_path / "in", 200), tmp_path / "out", tmp_path / "log"
    kills = 20
    done = subprocess.run(
        [sys.executable, SUPPORT / "killed_batch.py", folder, out, log, str(kills)],
        capture_output=True, text=True, check=True, timeout=LIMIT,
    )  # fmt: skip
    codes = list(map(int, done.stdout.split()))
    assert codes == [-signal.SIGKILL] * kills + [0]
    # Undisturbed: each picture inverted and saved.
    for source in folder.iterdir():
        with Image.open(source) as image:
            Image.fromarray(255 - np.asarray(image)).save(tmp_path / "wanted.png", compress_level=4)
        wanted = (tmp_path / "wanted.png").read_bytes()
        assert (out / f"{source.stem}.restored.png").read_bytes() == wanted
    assert len(list(out.iterdir())) == 200, "nothing half-written is left"
    begun = log.read_text().splitlines()
    assert not [line for line in begun if line.endswith("True")], "nothing is done twice"
    assert 200 <= len(begun) <= 200 + 2 * kills


HELD = """
import itertools, pathlib, threading
from lorair.runtime.folders import run
from lorair.runtime.restorer import Restorer

stop, count, restore = threading.Event(), itertools.count(), Restorer.restore
run.Event = lambda: stop

def held(*arguments):
    if (number := next(count)) >= 3:
        pathlib.Path(f"held{number}").touch()
        stop.wait()
    return restore(*arguments)

Restorer.restore = held
"""


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(sign: signal.Signals, code: int, tiny_bundle: Path, tmp_path: Path) -> None:
    """While each thread has a picture in work, which goes on when the run is told to stop."""
    folder = pictures(tmp_path / "in", 9)
    out, report = tmp_path / "out", tmp_path / "r.json"
    command = [*console_script("runtime", HELD), "infer", folder, "-o", out, "-b", tiny_bundle]
    command += ["--report", report, "--backend", "onnxruntime", "--jobs", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        wait_for(lambda: len([*tmp_path.glob("held*")]) == 2 or process.poll() is not None)
        process.send_signal(sign)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == code, err
    assert "Traceback" not in err
    entries = json.loads(report.read_text())["pictures"]
    assert [e["status"] for e in entries] == ["restored"] * 3 + ["not done"] * 6
    assert {Path(e["output"]) for e in entries[:3]} == set(out.iterdir()), "and nothing else"


def test_interrupted_or_not_the_bytes_are_the_same(infer: Command, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 8, side=48)
    command = partial(infer, folder, "--json", "--backend", "onnxruntime")
    for extra in ((), ("--route-from", "3"), ("--expert", "rain")):
        whole = tmp_path / f"whole{len(extra)}{extra[-1:]}"
        command("-o", whole, *extra)
        wanted = contents(whole)
        for number in (0, 1, 5):
            (whole / f"p{number:03}.restored.png").unlink()
        (whole / ".p000.restored.0123456789ab.partial.png").write_bytes(b"half")
        found = json.loads(command("-o", whole, *extra).out)
        assert contents(whole) == wanted
        assert found["counts"]["restored"] == 3


def test_a_full_disk_ends_it(
    infer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = pictures(tmp_path / "in", 30), tmp_path / "out"
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if len(list(out.glob("p*"))) >= 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    command = partial(infer, folder, "-o", out, "--backend", "onnxruntime", "--jobs", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        result = command()
    assert result.code == 1
    assert "4 restored, 1 failed, 25 not done" in result.err
    assert result.err.count("error:") == 1
    assert "No space left on device; choose another place" in result.error
    assert len(list(out.iterdir())) == 4
    assert command().code == 0
    assert len(list(out.iterdir())) == 30


def test_named_files_are_done_again_unless_told(infer: Command, picture_file: Path) -> None:
    target = picture_file.with_name("picture.restored.png")
    for arguments, stays in (
        ((picture_file, "--skip-existing"), True),
        ((picture_file,), False),
        ((picture_file.parent,), True),
        ((picture_file.parent, "--overwrite"), False),
    ):
        target.write_bytes(b"older")
        assert infer(*arguments).code == 0
        assert (target.read_bytes() == b"older") == stays, arguments


def test_what_is_current(tmp_path: Path) -> None:
    source, target = tmp_path / "a.png", tmp_path / "a.restored.png"
    source.touch()
    task = Task(source, target)
    assert not is_current(task)
    target.write_bytes(b"x")
    os.utime(source, ns=(0, target.stat().st_mtime_ns))
    assert is_current(task)
    os.utime(source, ns=(0, target.stat().st_mtime_ns + 1))
    assert not is_current(task)
    os.utime(source, ns=(0, 0))
    target.write_bytes(b"")
    assert not is_current(task)


def test_only_what_a_killed_run_left_of_these_is_removed(tmp_path: Path) -> None:
    names = [".a.0123456789ab.partial.png", ".b.0123456789ab.partial.png", ".a.xyz.partial.png"]
    names += [".a.0123456789ab.partial", "a.png", ".a.0123456789ab.partial.jpg"]
    for name in names:
        (tmp_path / name).touch()
    assert remove_partials([tmp_path / "a.png", tmp_path / "none" / "c.png"]) == 1
    assert {p.name for p in tmp_path.iterdir()} == set(names[1:])


def test_restore_many(tiny_bundle: Path, tmp_path: Path) -> None:
    files: list[Any] = sorted(pictures(tmp_path / "in", 5, side=40).iterdir())
    with Image.open(files[2]) as image:
        sources = [*files[:2], np.asarray(image), str(files[3]), files[4]]
    restorer = Restorer.open(tiny_bundle, jobs=2)
    for file, found in zip(files, restorer.restore_many(sources), strict=True):
        assert np.abs(found.image - restored(tiny_bundle, file)).max() <= 1
    sources[1] = tmp_path / "none.png"
    kinds = [type(result).__name__ for result in restorer.restore_many(sources, errors="return")]
    assert kinds == ["Restored", "PictureError", *["Restored"] * 3]
    iterator = restorer.restore_many(sources)
    next(iterator)
    with pytest.raises(PictureError, match=r"none\.png"):
        next(iterator)
