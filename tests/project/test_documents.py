"""Every measured number in README and the documents comes from a result file."""

import re
from pathlib import Path

import pytest

from lorair.benchmarks import documented

RECORDS = {"CHANGELOG.md", "CONTRIBUTING.md", "decisions.md"}
"""What was tried once, on the way. Nothing is promised there."""

MEASURE = re.compile(
    r"\d[\d,.]*(?:\s?(?:to|and|or|×|/)\s?\d[\d.]*)*\s?"
    r"(?:ms|s|min|[GMK]i?B|dB|%|times|frames a second|pictures a second|seconds|minutes|hours)"
    r"(?!\w)"
)

STATED: dict[str, set[str]] = {}
"""Limits, settings, sizes by arithmetic and properties of hardware: nothing of it is measured."""


def prose(text: str) -> str:
    """Without marked results, code blocks and inline code."""
    for pattern in (
        documented.MARK,
        re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE),
        re.compile(r"^ {4}.*$", re.MULTILINE),
        re.compile(r"`[^`\n]*`"),
    ):
        text = pattern.sub(" ", text)
    return text


@pytest.mark.parametrize("path", documented.documents(), ids=lambda path: path.name)
def test_marked_numbers_are_those_of_the_results(path: Path) -> None:
    text = path.read_text("utf-8")
    assert documented.rendered(text) == text, "run make numbers"


@pytest.mark.parametrize(
    "path",
    [path for path in documented.documents() if path.name not in RECORDS],
    ids=lambda path: path.name,
)
def test_no_other_number_is_measured(path: Path) -> None:
    found = set(MEASURE.findall(prose(path.read_text("utf-8"))))
    assert found <= STATED.get(path.name, set()), "mark them, or say in STATED that they are stated"
