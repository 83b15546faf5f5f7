import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Command

from lorair import Restorer
from lorair.benchmarks.schema.latency import Memory
from lorair.benchmarks.schema.results_file import read_latency
from lorair.benchmarks.timing.latency import STAGES, Series, Session, in_turn, measure
from lorair.benchmarks.timing.runner import LocalRunner
from lorair.benchmarks.timing.torch_eager import TorchEagerBackend, load_weights
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.engines.sizes import Size
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system.machine import default_threads


def test_every_stage_of_every_round_is_kept(tiny_bundle: Path) -> None:
    calls: list[int] = []
    runner = LocalRunner(Restorer.open(tiny_bundle, "onnxruntime"))
    session = Session()
    measure([("b", runner)], [Size(32, 48)], 3, session, lambda: calls.append(1))
    (m,) = session.series
    assert set(m.samples) == {*STAGES, "total", "cpu"}
    assert {len(values) for values in m.samples.values()} == {3}
    assert all(value > 0 for values in m.samples.values() for value in values)
    for i in range(3):
        stages = sum(m.samples[stage][i] for stage in STAGES)
        assert stages <= m.samples["total"][i] < stages + 0.01
    assert len(calls) == 4
    assert m.memory.host is not None
    assert m.memory.host > 50e6, "Python and NumPy alone take that"
    assert m.first["load"] > 0.01, "the graphs are loaded in the first, untimed iteration"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_nobody_is_always_behind_the_same(count: int) -> None:
    series = [Series(str(i), PlantedRunner(), Size(1, 1)) for i in range(count)]
    orders = [[s.bundle for s in in_turn(series, number)] for number in range(2 * count)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    for position in range(count):
        held = [order[position] for order in orders]
        assert {held.count(name) for name in held} == {2}
    if count > 1:
        followed = Counter(pair for order in orders for pair in pairwise(order))
        assert all(followed[a, b] == followed[b, a] for a, b in followed)


class PlantedRunner:
    """Runs that take what they are told to."""

    name, description, batch = "planted", "planted", 1

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def run(self, source: Path, target: Path) -> dict[str, float]:
        return {"restorer": self.seconds.pop(0), "cpu": 0.5}

    def peak_memory(self) -> Memory:
        return Memory()


def test_warm_up_is_left_out_of_every_stage() -> None:
    session = Session()
    settled = [1 + 0.01 * (i % 3) for i in range(20)]
    measure([("b", PlantedRunner(9, 3, 2, *settled))], [Size(32, 32)], 22, session)
    (found,) = session.configurations()
    assert found.first == {"restorer": 9, "cpu": 0.5}
    assert found.warmup == 2
    assert len(found.samples["restorer"]) == 22
    assert found.summary["restorer"].count == found.summary["total"].count == 20
    assert found.summary["restorer"].p99 < 1.03


def test_torch_eager_computes_the_same_picture(
    tiny_files: tuple[Path, Path], tiny_pair: Pair, tiny_bundle: Path
) -> None:
    """A baseline that computed something else would be timed for nothing."""
    model = Bundle.open(tiny_bundle).manifest.model
    eager = TorchEagerBackend(load_weights(model, *tiny_files), None)
    _, net = tiny_pair.modules()
    image, prior = torch.rand(1, 3, 32, 48), torch.randn(1, 384) * 0.3
    for gates in (torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.5, 0.2, 0.3])):
        found = eager.restore(image.numpy(), prior.numpy(), gates.numpy())
        with torch.inference_mode():
            wanted = net(image, prior, gates).numpy()
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    views = np.random.default_rng(0).normal(size=(1, 5, 3, 56, 56)).astype(np.float32)
    logits, prior8, gates8 = eager.route(views)
    router, _ = tiny_pair.modules()
    with torch.inference_mode():
        wanted_logits, wanted_prior, _ = router(torch.from_numpy(views))
    # bfloat16 keeps 8 bits; values are of order 1.
    np.testing.assert_allclose(prior8, wanted_prior, atol=0.05)
    np.testing.assert_allclose(logits, wanted_logits, atol=0.3)
    assert gates8.sum() == pytest.approx(1)


def test_command_compares_backends(
    lorair_bench: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    report = tmp_path / "latency.json"
    arguments = ("--size", "32x48", "--size", "64x32", "--iterations", 2, "--report", report)
    backends = [b for n in ("onnxruntime", "openvino", "torch-eager") for b in ("--backend", n)]
    result = lorair_bench("latency", "--bundle", tiny_bundle, *arguments, *backends)
    assert result.code == 0, result.err
    for words in ("32x48", "64x32", "p50", "p99", "restorer", "PyTorch", "onnxruntime"):
        assert words in result.out
    document = read_latency(report)
    assert document.complete
    assert document.command[:2] == ("lorair-bench", "latency")
    assert document.date is not None
    assert len(document.configurations) == 6
    assert len({c.memory.host for c in document.configurations}) > 3
    environment = document.environment
    assert environment.cores >= 1
    assert environment.affinity is None or len(environment.affinity) == environment.cores
    assert {"lorair", "numpy", "onnxruntime", "torch"} <= environment.versions.keys()
    (bundle,) = document.bundles
    assert (bundle.precision, bundle.label) == ("fp32", tiny_bundle.name)
    assert bundle.digest == Bundle.open(tiny_bundle).manifest.digest
    assert document.settings["threads"] == default_threads()
    first = document.configurations[0].summary["router"]
    assert first.min <= first.interval.low <= first.p50 <= first.p90 <= first.p99


def test_command_with_two_bundles_a_budget_and_cold_starts(
    lorair_bench: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Equal bundles restore equally: 160 dB against the reference, and both are in budget."""
    report = tmp_path / "latency.json"
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle, copy)
    bundles = ("--bundle", tiny_bundle, "--bundle", copy, "--backend", "onnxruntime")
    arguments = ("--size", "32x32", "--iterations", 1, "--cold", 1, "--report", report)
    budget = ("--budget-ms", 1e6, "--min-psnr", 99)
    result = lorair_bench("latency", *bundles, *arguments, *budget)
    assert result.code == 0, result.err
    assert "within the budget" in result.out
    configurations = read_latency(report).configurations
    assert [c.bundle for c in configurations] == [tiny_bundle.name, "copy"]
    assert [c.psnr_db for c in configurations] == [160, 160]
    for c in configurations:
        (start,), (total,) = c.cold["start"], c.cold["total"]
        assert 0.05 < start < total, "Python and the imports alone take that"


def test_a_reused_route_leaves_the_router_out(tiny_bundle: Path) -> None:
    runner = LocalRunner(Restorer.open(tiny_bundle, "onnxruntime"), reuse_route=True)
    session = Session()
    measure([("b", runner)], [Size(32, 48)], 2, session)
    (m,) = session.series
    assert m.first["router"] > 0
    assert m.samples["router"] == m.samples["views"] == [0.0, 0.0]
    assert all(value > 0 for value in m.samples["restorer"])
