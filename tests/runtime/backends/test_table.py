"""What a backend costs: a file and a line to add, few frames to pass, nothing of another's code."""

import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import pytest
from command import Command
from stub_backend import Stub

from lorair.runtime.backends import BACKENDS, BackendKind
from lorair.runtime.backends.onnxruntime import SessionGraph
from lorair.runtime.bundle.manifest import Bundle


class Inverts(Stub):
    """A backend whose restoration network inverts, and whose router always takes the first."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(lambda planes: 1 - planes)
        self.model = bundle.manifest.model

    def route(self, views: np.ndarray) -> Any:
        first = np.eye(self.model.experts, dtype=np.float32)[:1]
        return 9 * first, np.zeros((1, self.model.prior), np.float32), first


def test_a_backend_is_a_file_and_a_line(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ModuleType("lorair.runtime.backends.made_up")
    file.open_backend = lambda name, bundle, threads, jobs: Inverts(bundle)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, file.__name__, file)
    line = BackendKind("made-up", package="numpy", extra="cpu", module="made_up")
    monkeypatch.setitem(BACKENDS, line.name, line)
    done = lorair_run("infer", picture_file, "-b", tiny_bundle, "--backend", "made-up")
    assert done.code == 0, done.err
    assert "backend a stub" in done.err
    assert "made-up" in lorair_run("doctor").out


def test_a_cpu_s_walk_brings_no_code_of_the_gpu_s(tiny_bundle: Path) -> None:
    code = f"""
import sys
import numpy as np
from lorair import Restorer
Restorer.open({str(tiny_bundle)!r}, "onnxruntime").restore(np.zeros((16, 16, 3), np.uint8))
print([name for name in sys.modules if name.startswith("lorair.runtime.gpu")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def our_frames(frame: FrameType | None) -> list[str]:
    """Functions of ours on a stack, the outermost first."""
    found: list[str] = []
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("lorair."):
            found.insert(0, frame.f_code.co_name)
        frame = frame.f_back
    return found


def test_few_frames_lie_between_infer_and_the_library(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, stacks = threading.main_thread().ident, list[list[str]]()
    run = SessionGraph.run

    def recorded(graph: SessionGraph, inputs: dict[str, Any]) -> Any:
        if "image" in inputs:
            frames = our_frames(sys._current_frames()[main])
            mine = our_frames(sys._getframe(1))
            stacks.append([*frames[frames.index("infer") :], *mine, run.__name__])
        return run(graph, inputs)

    monkeypatch.setattr(SessionGraph, "run", recorded)
    command = ("infer", picture_file, "-b", tiny_bundle, "--backend", "onnxruntime")
    assert lorair_run(*command).code == 0
    assert stacks
    assert len(stacks[0]) <= 9, stacks[0]
