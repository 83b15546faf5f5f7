"""Verdicts on real noise: 20 recorded runs, and slowdowns planted into them.

`noise.npz`: microseconds (runs, processes, rounds, stages) of three equal processes that
took turns within each round (the tiny model, 96x96, ONNX Runtime with one thread) on two
cores shared with other work; loads: the one-minute average at each run's end, 5 to 9.
"""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from command import Command
from results import configuration, latency_report
from scipy import stats

from lorair.benchmarks.compare.changes import Change, compare_bundles, holm
from lorair.benchmarks.schema.latency import Configuration, LatencyReport
from lorair.benchmarks.schema.results_file import write_report

LIMIT = 0.05
Run = npt.NDArray[np.float64]
"""(processes, rounds, stages) in seconds."""


@pytest.fixture(scope="module")
def runs() -> Run:
    with np.load(Path(__file__).with_name("noise.npz")) as file:
        seconds: Run = file["microseconds"] / 1e6
    return seconds


def series(bundle: str, values: npt.NDArray[np.float64]) -> Configuration:
    stages = {name: values[:, i] for i, name in enumerate(("router", "restorer", "total"))}
    return configuration("onnxruntime", bundle, **stages)


def in_one_run(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> list[Change]:
    return compare_bundles(latency_report(series("a", a), series("b", b)), LIMIT)


def verdicts(changes: list[Change]) -> dict[str, str]:
    return {c.stage: c.verdict for c in changes if c.judged}


def test_equal_processes_are_equal_and_a_planted_slowdown_is_found(runs: Run) -> None:
    """19 of 20 for each pair of processes that took turns, whatever the load."""
    for i, j in combinations(range(3), 2):
        equal = [set(verdicts(in_one_run(r[i], r[j])).values()) == {"equal"} for r in runs]
        found = [verdicts(in_one_run(r[i], r[j] * 1.15))["total"] == "slower" for r in runs]
        assert sum(equal) >= 19, (i, j)
        assert sum(found) >= 19, (i, j)
    faster = [verdicts(in_one_run(r[0] * 1.15, r[1]))["total"] == "faster" for r in runs]
    assert sum(faster) >= 19


def test_a_change_below_the_limit_is_none() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.tile(rng.normal(1, 0.001, (400, 1)), 3) for _ in range(2))
    changes = compare_bundles(latency_report(series("a", a), series("b", b * 1.3)), 0.4)
    assert set(verdicts(changes).values()) == {"equal"}
    assert changes[0].p < 0.001


def test_small_stages_and_cpu_time_are_shown_not_judged() -> None:
    one = [1.0 + 0.001 * (i % 5) for i in range(20)]
    a = configuration("x", "a", total=one, restorer=one, decode=[0.01] * 20, cpu=one)
    b = configuration("x", "b", total=one, restorer=one, decode=[0.02] * 20, cpu=one)
    changes = {c.stage: c for c in compare_bundles(latency_report(a, b), LIMIT)}
    assert {stage for stage, c in changes.items() if c.judged} == {"total", "restorer"}
    assert changes["decode"].ratio == pytest.approx(2)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_p_is_that_of_a_normal_distribution() -> None:
    a = np.ones((40, 3))
    changes = compare_bundles(latency_report(series("a", a), series("b", a * 1.05)), 0)
    # Without any noise the error is what processes differ by; two stages, one total.
    stage, total = (2 * stats.norm.sf(np.log(1.05) / error) for error in (0.05, 0.03))
    assert [c.p for c in changes] == pytest.approx([2 * stage, 2 * stage, total])


def save(path: Path, report: LatencyReport) -> Path:
    write_report(path, report)
    return path


def test_command(lorair_bench: Command, runs: Run, tmp_path: Path) -> None:
    same = save(
        tmp_path / "same.json", latency_report(series("a", runs[0, 0]), series("b", runs[0, 1]))
    )
    slow = latency_report(series("a", runs[0, 0]), series("b", runs[0, 1] * 1.3))
    slower = save(tmp_path / "slower.json", slow)
    equal = lorair_bench("compare", same, "--fail-over", "5%")
    assert equal.code == 0, equal.err
    assert "nine times in ten" in equal.out
    found = lorair_bench("compare", slower, "--json")
    assert found.code == 1
    assert "are slower than before" in found.error
    assert {c["verdict"] for c in json.loads(found.out)} == {"slower"}
    assert lorair_bench("compare", slower, "--fail-over", "50").code == 0


def test_an_interrupted_run(lorair_bench: Command, runs: Run, tmp_path: Path) -> None:
    both = series("a", runs[0, 0]), series("b", runs[0, 1])
    result = lorair_bench("compare", save(tmp_path / "a", latency_report(*both, complete=False)))
    assert result.code == 0
    assert "the run was interrupted" in result.err


@pytest.mark.parametrize(
    ("configurations", "arguments", "words"),
    [
        ([("a", 32, 1, 20)], (), "wanted two bundles, timed with the same backend"),
        ([("a", 32, 1, 20), ("b", 64, 1, 20)], (), "wanted two bundles, timed with the same"),
        ([("a", 32, 1, 20), ("b", 32, 2, 20)], (), "wanted two bundles, timed with the same"),
        ([("a", 32, 1, 9), ("b", 32, 1, 7)], (), "at least 8 after the warm-up, found 7"),
        ([("a", 32, 1, 20)], ("--fail-over", "much"), "wanted a percentage, found much"),
    ],
)
def test_mistakes(
    configurations: list[tuple[str, int, int, int]],
    arguments: tuple[str, ...],
    words: str,
    lorair_bench: Command,
    tmp_path: Path,
) -> None:
    made = [
        configuration("x", name, height, batch=batch, total=[1.0] * rounds)
        for name, height, batch, rounds in configurations
    ]
    path = save(tmp_path / "run.json", latency_report(*made))
    result = lorair_bench("compare", path, *arguments)
    assert result.code == 2
    assert words in result.error
