"""What `--help` says of every command: whole phrases, and no type of a flag."""

import re
from collections.abc import Iterator

import pytest
from typer.main import get_command

from lorair.benchmarks.commands.main import app as bench
from lorair.exporter.commands.main import app as export
from lorair.runtime.commands.main import app as run

APPS = {"lorair-run": run, "lorair-export": export, "lorair-bench": bench}
PHRASE = re.compile(r"[A-Z][\w'-]*(?:[ ,;:]+\S+){2,}", re.DOTALL)
"""A capital letter, and at least three words."""


def commands() -> Iterator[tuple[str, object]]:
    for name, app in APPS.items():
        for command in get_command(app).commands.values():  # type: ignore[attr-defined]
            yield f"{name} {command.name}", command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_help_is_a_phrase(name: str, command: object) -> None:
    texts = {"": command.help}  # type: ignore[attr-defined]
    texts |= {p.name: p.help for p in command.params if p.name != "help"}  # type: ignore[attr-defined]
    bad = {key: text for key, text in texts.items() if not PHRASE.match(text or "")}
    assert not bad, f"{name}: {bad}"
    flags = [p for p in command.params if getattr(p, "is_flag", False)]  # type: ignore[attr-defined]
    assert all(flag.metavar == "" for flag in flags)


def test_commands_stand_in_the_order_of_their_use() -> None:
    names = {name: list(get_command(app).commands) for name, app in APPS.items()}  # type: ignore[attr-defined]
    assert names["lorair-run"][0] == "infer"
    assert names["lorair-export"][0] == "build"
    assert names["lorair-bench"][0] == "latency"
