"""docs/tools.md's blocks for Polygraphy, trtexec, Netron and ONNX, onnxslim and onnxsim."""

import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from commands_of_tools import environment_with_tools

for tool in ("polygraphy", "onnxslim", "onnxsim"):
    pytest.importorskip(tool)

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
LEFT_OUT = {"pip ": "from the network", "trtexec ": "it needs a GPU"}
SECTIONS = ("Polygraphy", "trtexec", "Netron and ONNX", "onnxslim and onnxsim")


def blocks(section: str) -> list[tuple[str, str]]:
    """Each fenced block's language and text."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def test_the_page_as_it_stands(tmp_path: Path) -> None:
    """One section after the other, in one folder."""
    (tmp_path / "bin").mkdir()
    start = "from lorair.exporter.commands.main import main; main()"
    lorair = tmp_path / "bin" / "lorair-export"
    lorair.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{start}" "$@"\n')
    lorair.chmod(0o755)
    environment = environment_with_tools(tmp_path / "bin")
    out = []
    for section in SECTIONS:
        for language, text in blocks(section):
            if language == "python":
                command = [sys.executable, "-c", text]
            else:
                lines = (line for line in text.splitlines() if not line.startswith(tuple(LEFT_OUT)))
                command = ["sh", "-c", "\n".join(["set -e", *lines])]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{section}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
            out.append(done.stdout)
    assert len(out) >= len(SECTIONS)
    assert "Passed: 3/3 iterations" in out[0]
    assert "9 [20]" in out[2]
    assert "'gates': 'rain=1'" in out[2]
    for form in ("slim", "sim"):
        onnx.checker.check_model(tmp_path / f"rain.{form}.onnx")
