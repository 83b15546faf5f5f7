"""`lorair-run batch`; the one test that starts Ray. The long ones are in tests/scale."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

LIMIT = 500


def test_a_missing_package_is_named(
    lorair_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorair.runtime.system.extras.is_installed", lambda name: False)
    found = lorair_run("batch", tmp_path, "-o", tmp_path / "out")
    assert found.code == 2
    assert "pip install 'lorair[cpu,ray]'" in found.error


def batch(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-c", "from lorair.runtime.commands.main import main; main()",
         "batch", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=LIMIT, env=environment,
    )  # fmt: skip


def test_the_files_of_infer(lorair_run: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    for number in range(11):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 24, 3), np.uint8)
        (tmp_path / "in" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / str(number % 2) / f"p{number:02}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"this is text")
    options = ("-b", tiny_bundle, "--recursive", "--backend", "onnxruntime")
    lorair_run("infer", tmp_path / "in", "-o", tmp_path / "wanted", *options)
    command = (tmp_path / "in", "-o", tmp_path / "out", *options)
    done = batch(*command, "--num-actors", 2, "--report", tmp_path / "report.json")
    assert done.returncode == 1, done.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "wanted")
    assert done.stdout.count(" -> ") == 11
    assert "11 restored, 1 failed" in done.stderr
    assert "bad.png: wanted a picture" in done.stderr
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["ray"]["actors"] == 2
    assert document["ray"]["start"] > 0
    assert [e["status"] for e in document["pictures"]].count("restored") == 11


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
