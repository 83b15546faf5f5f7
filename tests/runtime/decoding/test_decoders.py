"""What comes back from a child process, and what becomes of one that fails."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from made_up_decoder import COMMAND, Deed
from picture_files import png_file
from PIL import Image

from lorair.runtime import images
from lorair.runtime.decoding.pool import Decoders
from lorair.runtime.errors import InternalError, LorairError, OptionError, PictureError

LIMIT = 10_000_000


@pytest.fixture(scope="module")
def real() -> Iterator[Decoders]:
    with Decoders(60) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(60, ready=1, command=COMMAND) as decoders:
        yield decoders


def pictures(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    grey = rng.integers(0, 255, (13, 9), np.uint8)
    rgb = Image.fromarray(rng.integers(0, 255, (13, 9, 3), np.uint8))
    rgb.save(folder / "a.jpg", exif=exif, icc_profile=b"p" * 200, dpi=(72, 72), xmp=b"<x/>")
    Image.fromarray(grey).save(folder / "b.tiff")
    rgb.save(folder / "c.gif", save_all=True, append_images=[rgb.rotate(180)])
    deep = rng.integers(0, 2**16, (13, 9, 4), np.uint16)
    (folder / "d.png").write_bytes(png_file(deep, (b"tEXt", b"Title\0A"), (b"gAMA", b"\0\0\0\1")))
    Image.fromarray(deep[..., 0]).save(folder / "e.png")
    Image.merge("LA", [Image.fromarray(grey)] * 2).save(folder / "f.png")
    return sorted(folder.iterdir())


def test_a_picture_is_what_it_is_here(real: Decoders, tmp_path: Path) -> None:
    for path in pictures(tmp_path):
        here, there = images.read(path), real.read(path, LIMIT)
        for mine, its in ((here.pixels, there.pixels), (here.alpha, there.alpha)):
            np.testing.assert_array_equal(its, mine)
            assert its is mine or (its.dtype == mine.dtype and its.flags.writeable)  # type: ignore[union-attr]
        assert there.is_grey == here.is_grey
        assert astuple(there.metadata) == astuple(here.metadata)
        assert there.notes == here.notes


def test_an_error_is_what_it_is_here(real: Decoders, picture_file: Path) -> None:
    damaged = picture_file.with_name("damaged.png")
    damaged.write_bytes(picture_file.read_bytes()[:1000])
    for path, limit in ((Path("none.png"), 9), (damaged, LIMIT), (picture_file, 9)):
        with pytest.raises(PictureError) as here:
            images.read(path, limit)
        with pytest.raises(PictureError) as there:
            real.read(path, limit)
        assert there.value.line() == here.value.line()
        assert there.value.hint == here.value.hint


@pytest.mark.parametrize(
    ("deed", "error", "found"),
    [
        ("crash", PictureError, "ends its decoder (signal SIGSEGV)"),
        ("exit", PictureError, "ends its decoder (exit code 3)"),
        ("allocate", PictureError, "wanted at most 832 MB to decode, found out of memory"),
        ("fail", InternalError, "this is a bug"),
    ],
)
def test_one_bad_picture_costs_only_itself(
    decoders: Decoders, tmp_path: Path, picture_file: Path, deed: str, error: type, found: str
) -> None:
    bad = tmp_path / "bad"
    bad.write_text(deed)
    with pytest.raises(LorairError, match="cannot read") as raised:
        decoders.read(bad, LIMIT)
    assert type(raised.value) is error
    assert found in raised.value.line()
    assert str(bad) in raised.value.line()
    assert decoders.read(picture_file, LIMIT).pixels.shape == (70, 90, 3)


def test_the_deadline_ends_it(tmp_path: Path) -> None:
    bad = Deed("hold", tmp_path)
    with Decoders(2, command=COMMAND) as decoders, ThreadPoolExecutor(1) as threads:
        reading = threads.submit(decoders.read, bad.path, LIMIT)
        bad.process()
        with pytest.raises(PictureError, match="wanted at most 2 s to decode, found no end"):
            reading.result()
        bad.wait_for_its_end()


def test_others_go_on_while_one_is_killed(
    decoders: Decoders, tmp_path: Path, picture_file: Path
) -> None:
    bad = Deed("hang", tmp_path)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(decoders.read, bad.path, LIMIT)
        process = bad.process()
        assert decoders.read(picture_file, LIMIT).pixels.shape == (70, 90, 3)
        assert not reading.done()
        os.kill(process, signal.SIGKILL)
        bad.wait_for_its_end()
        with pytest.raises(PictureError, match="signal SIGKILL"):
            reading.result()
    assert decoders.read(picture_file, LIMIT).pixels.shape == (70, 90, 3)


def told(decoders: Decoders, folder: Path, number: int) -> int:
    """The number of the process that decodes now, and goes on to do so."""
    (folder / str(number)).mkdir()
    bad = Deed("fail", folder / str(number))
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(decoders.read, bad.path, LIMIT)
        process = bad.process()
        bad.said.close()
        assert isinstance(reading.exception(), InternalError)
    return process


def test_what_signals_do_to_an_idle_one(tmp_path: Path, picture_file: Path) -> None:
    with Decoders(60, command=COMMAND) as decoders:
        first = told(decoders, tmp_path, 1)
        assert os.getpgid(first) != os.getpgid(0)  # Ctrl-C goes to the parent's group
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(first, number)
        assert told(decoders, tmp_path, 2) == first
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        assert decoders.read(picture_file, LIMIT).pixels.shape == (70, 90, 3)


@pytest.mark.parametrize(("deed", "deadline"), [("hang", 1000), ("hold", 2)])
def test_it_ends_with_its_parent(tmp_path: Path, deed: str, deadline: int) -> None:
    bad = Deed(deed, tmp_path)
    code = (
        "import sys; from lorair.runtime.decoding.pool import Decoders;"
        f"Decoders({deadline}, 1, tuple(sys.argv[2:])).read(sys.argv[1], 9)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", code, bad.path, *COMMAND], stderr=subprocess.PIPE
    )
    bad.process()
    parent.kill()
    bad.wait_for_its_end()
    assert parent.communicate(timeout=60) == (None, b"")


def test_closing_ends_what_is_decoding(tmp_path: Path, picture_file: Path) -> None:
    bad = Deed("hang", tmp_path)
    decoders = Decoders(60, ready=2, command=COMMAND)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(decoders.read, bad.path, LIMIT)
        bad.process()
        decoders.close()
        assert isinstance(reading.exception(), PictureError)
        bad.wait_for_its_end()
    with pytest.raises(InternalError, match="closed"):
        decoders.read(picture_file, LIMIT)


def test_nothing_stays_of_a_picture(decoders: Decoders, picture_file: Path) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        mapped = Path("/proc/self/maps").read_text().count("memfd:lorair-picture")
        return mapped, len(list(Path("/proc/self/fd").iterdir()))

    decoders.read(picture_file, LIMIT)
    mapped, files = held()
    kept = [decoders.read(picture_file, LIMIT).pixels for _ in range(3)]
    assert held() == (mapped + 3, files + 3)
    del kept
    assert held() == (mapped, files)


def test_a_child_that_does_not_start_is_no_fault_of_the_picture(picture_file: Path) -> None:
    with (
        Decoders(60, command=(sys.executable, "-c", "raise SystemExit(7)")) as decoders,
        pytest.raises(InternalError, match=r"cannot start .* exit code 7"),
    ):
        decoders.read(picture_file, LIMIT)


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_deadlines_that_cannot_be(deadline: float) -> None:
    with pytest.raises(OptionError, match="--timeout"):
        Decoders(deadline)
