"""Every measured number in README and the documents comes from a result file."""

import re
from pathlib import Path

import pytest

from lorair.benchmarks.docs import fill as documented

RECORDS = {"CHANGELOG.md", "CONTRIBUTING.md", "decisions.md"}
"""What was tried once, on the way. Nothing is promised there."""

RECORDED = {
    "benchmarks.md": "## Comparing two builds",  # trials, whose series tests/benchmarks/*.npz has
    "kernels.md": "",  # arithmetic: bytes and operations over a device's rates
    "ray.md": "## What was tried",  # one run each of make scale-check
    "scaling.md": "## A billion pictures, on paper",
    "MODEL_CARD.md": "",  # its training and evaluation
}
"""Documents that are recorded or computed otherwise from a heading on."""

MEASURE = re.compile(
    r"\d[\d,.]*(?:\s?(?:to|and|or|×|/)\s?\d[\d.]*)*\s?"
    r"(?:ms|s|min|[GMK]i?B|dB|%|times|frames a second|pictures a second|seconds|minutes|hours)"
    r"(?!\w)"
)

STATED: dict[str, set[str]] = {
    # Limits that builds and tests enforce.
    "README.md": {"50 dB", "80 dB", "99.9 %"},
    "verify.md": {"50 dB"},
    "triton.md": {"0.1 %", "0.2 %"},
    # Settings, definitions, hardware and arithmetic.
    "benchmarks.md": {"24 GB", "15 times"},
    "bundle.md": {"1 MiB", "4 MiB", "64 MiB"},
    "gpu.md": {"3 ms", "15 %"},  # made time
    "folders.md": {"4 GiB", "512 MB", "8 seconds"},
    "scaling.md": {"400 MB"},
    "tensorrt.md": {"48 KiB", "48.1 KiB"},
    "video.md": {"2 %", "4 %"},
    "quality.md": {"0.5 dB", "160 dB", "5 s"},
    "report.md": {"95 %"},
    "results.md": {"1 %", "95 %"},
    "serve.md": {"5 s", "10 s", "30 s", "300 s", "64 MB", "512 MB"},
}
"""Nothing of it is measured."""


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
    text = path.read_text("utf-8")
    if path.name in RECORDED:
        text = text[: text.index(RECORDED[path.name])]
    found = set(MEASURE.findall(prose(text)))
    assert found <= STATED.get(path.name, set()), "mark them, or say in STATED that they are stated"


@pytest.mark.parametrize("path", documented.documents(), ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", prose(path.read_text("utf-8")))
    assert [link for link in links if not (path.parent / link).exists()] == []
