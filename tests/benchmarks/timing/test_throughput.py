import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

from lorair.benchmarks.schema.costs import ThroughputReport
from lorair.benchmarks.schema.results_file import read_report
from lorair.benchmarks.timing.throughput import Folder, Rounds, measure
from lorair.runtime.errors import PictureError
from lorair.runtime.routing.route import Route


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for index in range(4):
        pixels = np.full((20, 30, 3), 40 * index, np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")
    return path


CLAIMED = 60.0
"""Seconds that a stand-in says it took: no reading or writing takes as long."""


class Sleeper:
    """Restores by waiting: what several at once gain is known."""

    backend = SimpleNamespace(load_restorer=lambda gates: None)

    def __init__(self, jobs: int, seconds: float, fails: bool = False) -> None:
        self.jobs, self._seconds, self._fails = jobs, seconds, fails

    def route(self, pixels: Any) -> Route:
        return Route(np.ones(1), np.ones(1), np.ones(1), ("only",))

    def restore(self, pixels: Any, route: Route | None, *_: Any) -> Any:
        if self._fails:
            raise PictureError("cannot restore")
        time.sleep(self._seconds)
        seconds = {"router": CLAIMED / 4, "restorer": CLAIMED}
        return SimpleNamespace(
            image=pixels, route=route or self.route(pixels), seconds=seconds, tile=None
        )


def test_rounds_stages_and_the_bottleneck(folder: Path) -> None:
    pictures = Folder.of(sorted(folder.iterdir()))
    assert pictures.megapixels == pytest.approx(4 * 600 / 1e6)
    sweeps: list[Rounds] = []
    measure([Sleeper(1, 0.05), Sleeper(4, 0.05)], pictures, 2, sweeps)  # type: ignore[list-item]
    alone, together = sweeps
    assert (alone.jobs, together.jobs) == (1, 4)
    for sweep in sweeps:
        assert len(sweep.seconds) == len(sweep.cpu) == 2
        assert sweep.stages["restoring"] == pytest.approx(2 * 4 * CLAIMED)
        assert sweep.stages["routing"] >= 2 * 4 * CLAIMED / 4
        assert sweep.to_run().bottleneck == "restoring"
    # Waiting overlaps wholly, whatever else the machine does.
    assert min(alone.seconds) >= 4 * 0.05
    assert min(together.seconds) >= 0.05


def test_a_picture_that_fails_ends_it(folder: Path) -> None:
    pictures = Folder.of(sorted(folder.iterdir()))
    with pytest.raises(PictureError, match="cannot restore"):
        measure([Sleeper(1, 0.0, fails=True)], pictures, 1, [])  # type: ignore[list-item]


def test_the_command(
    lorair_bench: Command, tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    report = tmp_path / "r.json"
    result = lorair_bench(
        "throughput", "-b", tiny_bundle, "--backend", "onnxruntime", "--images", folder,
        "--jobs", "1", "--jobs", "2", "--rounds", "2", "--report", report, "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    found = read_report(report)
    assert isinstance(found, ThroughputReport)
    assert found.complete
    assert (found.pictures, found.backend) == (4, "onnxruntime")
    assert [(run.jobs, len(run.seconds)) for run in found.runs] == [(1, 2), (2, 2)]
    assert json.loads(result.out)["runs"][0]["bottleneck"] == found.runs[0].bottleneck
    assert sorted(path.name for path in folder.iterdir()) == [f"{i}.png" for i in range(4)]
