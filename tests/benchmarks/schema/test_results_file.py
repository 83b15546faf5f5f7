"""Result files: what is written can be read, and nothing else can."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results import configuration, latency_report, row

from lorair.benchmarks.commands.measuring import result
from lorair.benchmarks.schema.costs import ExpertsReport
from lorair.benchmarks.schema.latency import LatencyReport
from lorair.benchmarks.schema.results_file import read_report, to_json, write_report
from lorair.runtime.errors import ResultError

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def made() -> Any:
    return to_json(latency_report(configuration("x", total=[1.0, 2.0, 3.0], decode=[0.1] * 3)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    report = latency_report(configuration("x", total=[1.0, 2.5], psnr_db=50.0), complete=False)
    write_report(tmp_path / "a.json", report)
    assert read_report(tmp_path / "a.json") == report


def test_the_literal_file() -> None:
    content = made()
    assert (content["schema_version"], content["kind"], content["complete"]) == (2, "latency", True)
    (found,) = content["configurations"]
    assert found["samples"] == {"total": [1.0, 2.0, 3.0], "decode": [0.1, 0.1, 0.1]}
    assert found["summary"]["total"]["p50"] == 2
    assert found["summary"]["total"]["interval"] == {"low": 1, "high": 3, "confidence": 0.95}
    assert found["memory"] == {"host": None, "device": None}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_shipped_results_are_readable(path: Path) -> None:
    report = read_report(path)
    assert report.complete
    assert report.command, "what was measured is known"
    assert report.date, "and when"
    for c in report.configurations if isinstance(report, LatencyReport) else ():
        for stage, summary in c.summary.items():
            wanted = np.percentile(c.samples[stage][c.warmup :], [50, 90, 99])
            assert (summary.p50, summary.p90, summary.p99) == pytest.approx(wanted)


def change(**fields: Any) -> Any:
    return made() | fields


def broken(samples: dict[str, list[float]], times: int = 1) -> Any:
    """With other samples in its configuration, or that more than once."""
    content = made()
    content["configurations"][0]["samples"] |= samples
    return content | {"configurations": content["configurations"] * times}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "wanted JSON"),
        ("\x00\xff", "wanted JSON"),
        ("[" * 100_000, "wanted JSON"),
        ("[]", "wanted a result of lorair-bench, found other JSON"),
        ('{"name": "left-pad"}', "wanted a result of lorair-bench, found other JSON"),
        (change(schema_version=1), "wanted schema version 2, found 1; measure again"),
        (change(schema_version=3), "wanted schema version 2, found 3; upgrade lorair"),
        (change(schema_version="2"), "found '2'"),
        (change(kind="poetry"), "wanted kind latency or throughput or .*, found 'poetry'"),
        (change(kind=["latency"]), r"found \['latency'\]"),
        (change(environment={}), "environment.cpu, found Field required"),
        (change(bundles=[]), "a configuration of a bundle that is not listed"),
        (broken({"decode": [0.1]}), "stages with different numbers of samples"),
        (broken({"total": [-1.0, 1.0, 1.0]}), "samples.total.0, found Input should be greater"),
        (broken({}, times=2), "a configuration is there twice"),
    ],
)
def test_foreign_and_damaged_files(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "latin-1")
    with pytest.raises(ResultError, match=words) as caught:
        read_report(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="found nothing there"):
        read_report(tmp_path / "a.json")
    with pytest.raises(ResultError, match="wanted a file"):
        read_report(tmp_path)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_interrupted_run_is_kept_and_marked(stop: type[BaseException], tmp_path: Path) -> None:
    """And nothing is written for nothing."""
    path, rounds = tmp_path / "a.json", list[float]()

    def measured() -> dict[str, Any]:
        return {"rows": tuple(row("gates", 2, rounds) for _ in rounds), "description": ""}

    for written in (False, True):
        with pytest.raises(stop), result(ExpertsReport, measured, lambda _: [], path, False,
                                         preset="tiny", backend="x"):  # fmt: skip
            rounds += [1.0] * written
            raise stop
        assert path.exists() == written
    found = read_report(path)
    assert not found.complete
    assert found.rows[0].samples == (1.0,)
