"""Backends in processes of their own."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import is_alive

from lorair.benchmarks.timing.runner import LocalRunner, ProcessRunner, Spec
from lorair.runtime.errors import BackendError, InternalError, PictureError


def test_a_child_restores_as_this_process_does(
    tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    spec = Spec(tiny_bundle, "onnxruntime", threads=1)
    local = LocalRunner(spec.open())
    local.run(picture_file, tmp_path / "local.png")
    with ProcessRunner(spec) as runner:
        assert (runner.name, runner.description) == (local.name, local.description)
        seconds = runner.run(picture_file, tmp_path / "child.png")
        peak = runner.peak_memory().host
        pid = runner._process.pid
    assert {"decode", "load", "router", "restorer", "encode"} <= set(seconds)
    assert peak is None or 30e6 < peak < 2e9
    pictures = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("local", "child"))
    np.testing.assert_array_equal(*pictures)
    assert pid is not None
    assert not is_alive(pid)


def test_errors_come_through(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no backend 'abacus'"):
        ProcessRunner(Spec(tiny_bundle, "abacus"))
    with ProcessRunner(Spec(tiny_bundle, "onnxruntime")) as runner:
        (tmp_path / "no.png").write_bytes(b"")
        with pytest.raises(PictureError, match=r"no\.png"):
            runner.run(tmp_path / "no.png", tmp_path / "out.png")


def test_a_killed_child_is_an_error(tiny_bundle: Path, picture_file: Path) -> None:
    with ProcessRunner(Spec(tiny_bundle, "onnxruntime")) as runner:
        assert runner._process.pid is not None
        os.kill(runner._process.pid, signal.SIGKILL)
        with pytest.raises(InternalError, match="ended while it was timed: found exit code -9"):
            runner.run(picture_file, picture_file.with_name("out.png"))
