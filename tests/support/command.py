"""Run a console script in this process, as a user would meet it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import pytest


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The last line on stderr, where an error is."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


Command = Callable[..., Result]

_MODULES = {
    "lorair-run": "lorair.runtime.commands.main",
    "lorair-export": "lorair.exporter.commands.main",
    "lorair-bench": "lorair.benchmarks.commands.main",
}


def make_command(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    def command(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            import_module(_MODULES[script]).main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return command
