"""What an index shows of the package holds without the project's files."""

import re
import tomllib
from pathlib import Path

from lorair.runtime.commands.main import app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_changelog_has_the_version() -> None:
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert PROJECT["version"] in sections[:2]


def test_the_description_stands_alone() -> None:
    text = (ROOT / PROJECT["readme"]).read_text("utf-8")
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)
    named = {
        name
        for group in re.findall(r"`(?:lorair)?\[([\w,]+)\]`", text)
        for name in group.split(",")
    }
    assert len(named) >= 10
    assert named <= set(PROJECT["optional-dependencies"])
    commands = {
        command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert set(re.findall(r"lorair-run (\w+)", text)) <= commands
