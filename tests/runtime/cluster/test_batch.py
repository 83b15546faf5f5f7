"""`lorair-run batch`; the one test that starts Ray. The long ones are in tests/scale."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import Command
from noise_files import contents, pictures
from processes import LIMIT, console_script


def test_a_missing_package_is_named(
    lorair_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorair.runtime.system.extras.is_installed", lambda name: False)
    found = lorair_run("batch", tmp_path, "-o", tmp_path / "out")
    assert found.code == 2
    assert "[cpu,ray]'" in found.error


def batch(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.run(
        [*console_script("runtime"), "batch", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=LIMIT, env=environment,
    )  # fmt: skip


def test_the_files_of_infer(lorair_run: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    for name, count in (("0", 6), ("1", 5)):
        pictures(tmp_path / "in" / name, count, side=20 + count)
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
