"""Several pictures in one run of each graph."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from command import Command

from lorair import Restorer, Route
from lorair.benchmarks.schema.results_file import read_latency
from lorair.benchmarks.timing.batch import BatchRunner, Stopwatch
from lorair.runtime.errors import BackendError


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_batch_restores_as_single_runs_do(
    backend: str, tiny_bundle: Path, photo: npt.NDArray[np.uint8]
) -> None:
    """Three different pictures, each with its own prior, on the first one's route.

    Then three others on theirs, which are not what the graph was bound to.
    """
    restorer = Restorer.open(tiny_bundle, backend, threads=1)
    batched = BatchRunner(restorer, 3)
    for offset in (0, 100):
        pictures = [photo[offset : offset + 40, 50 * i : 50 * i + 60] for i in range(3)]
        found = batched.restore(pictures, Stopwatch())
        routes = [restorer.route(picture) for picture in pictures]
        for picture, route, got in zip(pictures, routes, found, strict=True):
            common = Route(route.logits, routes[0].gates, route.prior, route.classes)
            wanted = restorer.restore(picture, common).image
            assert got.shape == wanted.shape
            difference = np.abs(got.astype(int) - wanted.astype(int))
            assert difference.max() <= 1
            assert (difference == 0).mean() > 0.999


def test_the_command(lorair_bench: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    report = tmp_path / "latency.json"
    result = lorair_bench(
        "latency", "-b", tiny_bundle, "--backend", "onnxruntime", "--size", "32x48",
        "--batch", 1, "--batch", 2, "--iterations", 2, "--cold", 1, "--report", report,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "2x32x48" in result.out
    assert "a picture" in result.out
    single, double = read_latency(report).configurations
    assert (single.batch, double.batch) == (1, 2)
    assert "2 pictures a run" in double.description
    assert double.samples.keys() == single.samples.keys()
    assert all(value > 0 for stage in double.samples.values() for value in stage)
    assert double.cold_summary["total"].p50 > double.cold_summary["start"].p50


def test_a_reused_route_and_every_picture_written(
    tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    runner = BatchRunner(Restorer.open(tiny_bundle, "onnxruntime"), 2, reuse_route=True)
    assert "router" in runner.run(picture_file, tmp_path / "out.png")
    second = runner.run(picture_file, tmp_path / "out.png")
    assert "router" not in second
    written = [path.read_bytes() for path in sorted(tmp_path.glob("out*.png"))]
    assert len(written) == 2
    assert written[0] == written[1]


def test_a_backend_that_takes_no_other_graph() -> None:
    restorer: Any = SimpleNamespace(backend=SimpleNamespace(name="tensorrt", description=""))
    with pytest.raises(BackendError, match="batch on tensorrt: wanted one of onnxruntime, open"):
        BatchRunner(restorer, 2)
