"""The mechanism, on made-up results; that the documents are up to date: tests/project."""

from pathlib import Path

import pytest

from lorair.benchmarks.docs.fill import rendered
from lorair.benchmarks.schema.costs import CommandRun, CommandsReport
from lorair.benchmarks.schema.parts import Environment
from lorair.benchmarks.schema.results_file import write_report
from lorair.runtime.errors import ResultError


@pytest.fixture
def results(tmp_path: Path) -> Path:
    environment = Environment(cpu="a", cores=2, memory=1, system="b", python="3", versions={})
    runs = (
        CommandRun(command=("x", "a b"), seconds=(1.0, 3.0, 2.0), cpu_seconds=(1, 1, 1), p50=2.0,
                   peak_memory=1_234_000_000, output="done\n"),
        CommandRun(command=("y",), seconds=(12.34,), cpu_seconds=(1,), p50=12.34),
    )  # fmt: skip
    report = CommandsReport(environment=environment, runs=runs, sizes={"to/it": 2_500_000})
    write_report(tmp_path / "run.json", report)
    write_report(tmp_path / "half.json", report.model_copy(update={"complete": False}))
    return tmp_path


def test_a_table_between_its_marks(results: Path) -> None:
    text = "before\n<!-- results: commands run A B -->\nold\n<!-- /results -->\nafter 1 s\n"
    assert rendered(text, results) == (
        "before\n<!-- results: commands run A B -->\n"
        "| command | seconds | range | processor seconds | peak memory, GB |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| A | 2.00 | 1.00 to 3.00 | 1.00 | 1.23 |\n| B | 12.3 | – | 1.00 | – |\n"
        "<!-- /results -->\nafter 1 s\n"
    )


def test_a_number_in_a_line_and_a_transcript(results: Path) -> None:
    text = "a <!-- results: bytes_of run it -->?<!-- /results --> b"
    assert rendered(text, results).endswith("-->2 MB<!-- /results --> b")
    text = "<!-- results: transcript run 0 -->\n<!-- /results -->"
    assert "\n```\n$ x 'a b'\ndone\n```\n" in rendered(text, results)


def test_twice_is_once(results: Path) -> None:
    table = "<!-- results: commands run A B -->\n<!-- /results -->"
    text = f"{table} and <!-- results: bytes_of run it --><!-- /results -->"
    once = rendered(text, results)
    assert rendered(once, results) == once != text


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("poem run", "poem"),
        ("commands none", "nothing there"),
        ("commands half A B", "not complete"),
        ("commands run A", "longer"),
        ("latency run 1x1", "lorair-bench commands"),
        ("bytes_of run other", "not enough values"),
        ("transcript run 7", "out of range"),
        ("transcript", "missing"),
    ],
)
def test_marks_that_cannot_be_filled(results: Path, words: str, found: str) -> None:
    with pytest.raises(ResultError, match=found):
        rendered(f"<!-- results: {words} --><!-- /results -->", results)
