"""Commands of docs/tools.md: options that there are, and those run that take no minute."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from command import Command

from lorair.exporter.commands.main import app as export
from lorair.runtime.commands.main import app as run

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
LINES = re.findall(r"^(lorair-(?:export|run) .+)$", PAGE.read_text("utf-8"), re.MULTILINE)
QUICK = ("lorair-export expert list", "lorair-export upload default", "lorair-export triton")
"""The others: tests/exporter/test_experts.py, test_publish.py, tests/runtime/backends."""


@pytest.mark.parametrize("line", LINES)
def test_the_options_are_there(line: str) -> None:
    script, *arguments = shlex.split(line)
    command = typer.main.get_command({"lorair-export": export, "lorair-run": run}[script])
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    command.make_context(script, arguments).close()


def test_the_quick_ones_run(
    lorair_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in LINES if line.startswith(QUICK) and "--to-hub" not in line]
    lines += [line for line in LINES if line.endswith("--dry-run")]
    assert len(lines) >= 3
    for line in lines:
        done = lorair_export(*shlex.split(line)[1:])
        assert done.code == 0, done.err
        assert done.out
