"""The yardstick: what it does, and verdicts on separate runs that had it, on real noise.

`yardstick.npz`: microseconds (runs, series, rounds) of separate runs of one thing (the tiny
model, 96x96, ONNX Runtime with one thread) on two cores shared with other work; series: total
and CPU time of the model, then of the yardstick. `equal` are 24 such runs; `slowed` those
that took turns with them, in which every picture waits busily for 15 % of its time. `loads`:
the one-minute average at the end of each equal run. None of them set the noise that
`estimates` reckons with: those were earlier ones.
"""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from command import Command
from PIL import Image
from results import configuration, latency_report

from lorair.benchmarks.compare.changes import Change, compare_reports, yardstick_obstacle
from lorair.benchmarks.schema import LatencyReport, Memory
from lorair.benchmarks.schema.parts import Yardstick, YardstickSize
from lorair.benchmarks.schema.results_file import read_latency, write_report
from lorair.benchmarks.timing import yardstick, yardstick_graph
from lorair.benchmarks.timing.latency import Session, Size, measure
from lorair.benchmarks.timing.yardstick import YardstickSpec

LIMIT = 0.05
Run = npt.NDArray[np.float64]
"""(series, rounds) in seconds."""


def test_the_graph_is_the_one_that_is_drawn() -> None:
    kept = onnx.load(yardstick.GRAPH)
    assert kept == yardstick_graph.draw()
    assert yardstick.GRAPH.stat().st_size < 50_000
    assert {node.op_type for node in kept.graph.node} >= {"Conv", "GlobalAveragePool", "Split"}


@pytest.mark.parametrize(("height", "width"), [(40, 50), (16, 600)])
def test_a_walk_is_timed_and_changes_little(height: int, width: int, tmp_path: Path) -> None:
    """Pillow does as much as for a real picture: what is written looks like what was read."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(pixels).save(source)
    seconds = YardstickSpec(1).runner().run(source, target)
    assert set(seconds) == {"decode", "views", "graph", "encode", "cpu"}
    assert min(seconds.values()) > 0
    written = np.asarray(Image.open(target))
    assert written.shape == (height, min(width, yardstick.LARGEST), 3)
    assert np.abs(written.astype(int) - pixels[:, : yardstick.LARGEST]).mean() < 10


class Counting:
    """A runner whose every run takes one second more; the yardstick's ends after `most`."""

    name, description = "counting", "counting"
    batch = 1

    def __init__(self, most: int = 100) -> None:
        self.count, self.most = 0, most

    def run(self, source: Path, target: Path) -> dict[str, float]:
        self.count += 1
        if self.count > self.most:
            raise KeyboardInterrupt
        return {"restorer": float(self.count), "cpu": 0.5}

    def peak_memory(self) -> Memory:
        return Memory()


def test_it_takes_its_turn_in_every_round_and_is_no_configuration() -> None:
    session, sizes = Session(), [Size(32, 32), Size(48, 48)]
    measure([("a", Counting()), ("b", Counting())], sizes, 3, session, yardstick=Counting())
    assert [c.bundle for c in session.configurations()] == ["a", "b", "a", "b"]
    record = yardstick.record(YardstickSpec(2), session.yardstick)
    assert record is not None
    assert [s.size for s in record.sizes] == ["32x32", "48x48"]
    assert record.sizes[0].total == (2, 3, 4), "the first run of each is not timed"
    assert record.sizes[1].total == (6, 7, 8)
    assert record.sizes[0].cpu == (0.5, 0.5, 0.5)
    assert (record.threads, record.version) == (2, yardstick.VERSION)
    assert {"onnxruntime", "pillow"} <= record.versions.keys()


def test_an_interrupted_run_keeps_it() -> None:
    session = Session()
    with pytest.raises(KeyboardInterrupt):
        measure([("a", Counting())], [Size(32, 32)], 9, session, yardstick=Counting(most=3))
    record = yardstick.record(YardstickSpec(1), session.yardstick)
    assert record is not None
    assert record.sizes[0].total == (2, 3)
    assert yardstick.record(YardstickSpec(1), []) is None


def test_command(lorair_bench: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", tiny_bundle, "--backend", "onnxruntime", "--size", "32x32")
    for name in ("a", "b"):
        report = tmp_path / f"{name}.json"
        rest = ("--threads", 1, "--iterations", 12, "--report", report)
        assert lorair_bench("latency", *arguments, *rest).code == 0
    found = read_latency(report).yardstick
    assert found is not None
    assert (found.name, found.threads, len(found.sizes[0].total)) == ("walk", 1, 12)
    result = lorair_bench("compare", tmp_path / "a.json", report, "--fail-over", "9999%", "--json")
    assert result.code == 0, result.err
    assert {c["method"] for c in json.loads(result.out)} == {"yardstick"}


def test_without(
    lorair_bench: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--bundle", tiny_bundle, "--size", "32x32", "--iterations", 1)
    report = ("--report", tmp_path / "a.json")
    assert lorair_bench("latency", *arguments, *report, "--no-yardstick").code == 0
    assert read_latency(tmp_path / "a.json").yardstick is None
    monkeypatch.setattr(yardstick, "find_spec", lambda name: None)
    result = lorair_bench("latency", *arguments, *report)
    assert result.code == 0
    assert "no yardstick, which needs onnxruntime" in result.err
    assert read_latency(tmp_path / "a.json").yardstick is None


def report(run: Run, backend: str = "onnxruntime", **changes: Any) -> LatencyReport:
    """A run's result: total, CPU time, and those of the yardstick."""
    total, cpu, beside, beside_cpu = (tuple(map(float, series)) for series in run)
    size = YardstickSize(height=32, width=32, total=beside, cpu=beside_cpu)
    fields = {"name": "walk", "version": 1, "threads": 1, "versions": {"onnxruntime": "1"}}
    made = Yardstick.model_validate({**fields, **changes, "sizes": (size,)})
    one = configuration(backend, restorer=total, total=total, cpu=cpu)
    return latency_report(one, yardstick=made)


def slowed(run: Run, factor: float) -> Run:
    return run * np.array([factor, factor, 1, 1])[:, None]


def verdicts(before: LatencyReport, after: LatencyReport) -> dict[str, str]:
    return {c.stage: c.verdict for c in compare_reports(before, after, LIMIT) if c.judged}


def changes(before: LatencyReport, after: LatencyReport) -> dict[str, Change]:
    return {c.stage: c for c in compare_reports(before, after, LIMIT)}


@pytest.fixture(scope="module")
def noise() -> dict[str, npt.NDArray[np.float64]]:
    with np.load(Path(__file__).with_name("yardstick.npz")) as file:
        return {name: file[name] / 1e6 for name in ("equal", "slowed")}


def test_separate_runs_that_are_equal_are_called_equal(
    noise: dict[str, npt.NDArray[np.float64]],
) -> None:
    """19 of 20, though their medians differ by up to a factor of two."""
    runs = noise["equal"]
    pairs = [(a, b) for a, b in pairwise(runs)]
    equal = [set(verdicts(report(a), report(b)).values()) == {"equal"} for a, b in pairs]
    assert np.mean(equal) >= 0.95
    medians = np.median(runs[:, 0], axis=1)
    assert max(medians) / min(medians) > 1.5, "else there would be nothing to withstand"


def test_a_planted_slowdown_is_found_in_separate_runs(
    noise: dict[str, npt.NDArray[np.float64]],
) -> None:
    pairs = list(pairwise(noise["equal"]))
    found = ["slower" in verdicts(report(a), report(slowed(b, 1.15))).values() for a, b in pairs]
    assert np.mean(found) >= 0.95
    faster = ["faster" in verdicts(report(slowed(a, 1.15)), report(b)).values() for a, b in pairs]
    assert np.mean(faster) >= 0.95
    real = zip(noise["equal"], noise["slowed"], strict=True)
    assert np.mean(["slower" in verdicts(report(a), report(b)).values() for a, b in real]) >= 0.95


def steady(*levels: float) -> Run:
    rng = np.random.default_rng(0)
    return np.array(levels)[:, None] * rng.normal(1, 0.005, (len(levels), 60))


def test_what_slows_both_is_the_machine() -> None:
    """By hand: twice as slow with a yardstick twice as slow is no change."""
    before = report(steady(1.0, 1.0, 0.5, 0.5))
    found = changes(before, report(steady(2.0, 2.0, 1.0, 1.0)))
    assert found["cpu"].ratio == pytest.approx(1, abs=0.01)
    assert {c.verdict for c in found.values()} == {"equal"}
    found = changes(before, report(steady(1.0, 1.0, 0.4, 0.4)))
    assert found["cpu"].ratio == pytest.approx(1.25, abs=0.01)
    assert (found["cpu"].verdict, found["cpu"].method) == ("slower", "yardstick")
    assert not found["restorer"].judged, "there is no yardstick for a stage"


def test_cpu_time_is_held_against_cpu_time() -> None:
    """A process that waits longer beside one that does not: the total tells, CPU time not."""
    found = changes(report(steady(1, 1, 1, 1)), report(steady(3, 1, 1.5, 1)))
    assert found["total"].ratio == pytest.approx(2, abs=0.01)
    assert found["cpu"].ratio == pytest.approx(1, abs=0.01)
    assert (found["total"].verdict, found["cpu"].verdict) == ("slower", "equal")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "yardsticks of different version"),
        ({"threads": 2}, "yardsticks of different threads"),
        ({"versions": {"onnxruntime": "2"}}, "yardsticks of different versions"),
    ],
)
def test_another_yardstick_is_none(
    change: dict[str, Any], words: str, lorair_bench: Command, tmp_path: Path
) -> None:
    run = steady(1, 1, 1, 1)
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, made in zip(paths, (report(run), report(run, **change)), strict=True):
        write_report(path, made)
    result = lorair_bench("compare", *paths)
    assert result.code == 0
    assert words in result.err
    assert "nine times in ten" in result.out
    methods = {c["method"] for c in json.loads(lorair_bench("compare", *paths, "--json").out)}
    assert methods == {"runs"}


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda r: r.model_copy(update={"yardstick": None}), "a run without a yardstick"),
        (
            lambda r: r.model_copy(
                update={"environment": r.environment.model_copy(update={"cpu": "sliding rule"})}
            ),
            "runs on different processors",
        ),
    ],
)
def test_obstacles(alter: Callable[[LatencyReport], LatencyReport], words: str) -> None:
    before = report(steady(1, 1, 1, 1))
    assert yardstick_obstacle(before, before) is None
    assert yardstick_obstacle(before, alter(before)) == words
    assert {c.method for c in compare_reports(before, alter(before), LIMIT)} == {"runs"}


def test_a_gpus_time_has_no_yardstick() -> None:
    run = report(steady(1, 1, 1, 1), backend="tensorrt")
    assert {c.method for c in compare_reports(run, run, LIMIT)} == {"runs"}


def test_a_round_that_the_yardstick_lacks_is_left_out() -> None:
    before = report(steady(1, 1, 1, 1))
    assert before.yardstick is not None
    (size,) = before.yardstick.sizes
    for kept, method in ((59, "yardstick"), (5, "runs")):
        short = size.model_copy(update={"total": size.total[:kept], "cpu": size.cpu[:kept]})
        less = before.yardstick.model_copy(update={"sizes": (short,)})
        after = before.model_copy(update={"yardstick": less})
        found = changes(before, after)
        assert {c.verdict for c in found.values()} == {"equal"}
        assert {c.method for c in found.values()} == {method}
