import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Command

from lorair.benchmarks.latency import STAGES, Size, measure, percentiles
from lorair.benchmarks.runner import LocalRunner
from lorair.benchmarks.torch_eager import EagerWeights, TorchEagerBackend
from lorair.exporter.checkpoint import Pair
from lorair.runtime import Restorer
from lorair.runtime.bundle import Bundle


def test_percentiles_are_in_milliseconds() -> None:
    found = percentiles([i / 1000 for i in range(1, 102)])
    assert found == pytest.approx({"p50": 51, "p90": 91, "p99": 100, "min": 1})


def test_every_stage_of_every_round_is_kept(tiny_bundle: Path) -> None:
    calls: list[int] = []
    runner = LocalRunner(Restorer.open(tiny_bundle, "onnxruntime"))
    (m,) = measure([runner], [Size(32, 48)], 3, lambda: calls.append(1))
    assert set(m.samples) == {*STAGES, "total"}
    assert {len(values) for values in m.samples.values()} == {3}
    assert all(value > 0 for values in m.samples.values() for value in values)
    for i in range(3):
        stages = sum(m.samples[stage][i] for stage in STAGES)
        assert stages <= m.samples["total"][i] < stages + 0.01
    assert len(calls) == 4
    assert m.peak_memory is not None
    assert m.peak_memory > 50e6, "Python and NumPy alone take that"
    assert m.first["load"] > 0.01, "the graphs are loaded in the first, untimed iteration"


def test_torch_eager_computes_the_same_picture(
    tiny_files: tuple[Path, Path], tiny_pair: Pair, tiny_bundle: Path
) -> None:
    """A baseline that computed something else would be timed for nothing."""
    model = Bundle.open(tiny_bundle).manifest.model
    eager = TorchEagerBackend(model, EagerWeights(*tiny_files), None)
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
    document = json.loads(report.read_text())
    assert document["schema_version"] == 1
    assert len(document["measurements"]) == 6
    assert len({m["peak_memory_bytes"] for m in document["measurements"]}) > 3
    environment = document["environment"]
    assert environment["cores"] >= 1
    assert {"numpy", "onnxruntime", "torch"} <= set(environment["versions"])
    assert document["bundle"]["precision"] == "fp32"
    assert document["threads"] == environment["cores"]
    first = document["measurements"][0]
    assert set(first["milliseconds"]["router"]) == {"p50", "p90", "p99", "min"}


def test_a_reused_route_leaves_the_router_out(tiny_bundle: Path) -> None:
    runner = LocalRunner(Restorer.open(tiny_bundle, "onnxruntime"), reuse_route=True)
    (m,) = measure([runner], [Size(32, 48)], 2)
    assert m.first["router"] > 0
    assert m.samples["router"] == m.samples["views"] == [0.0, 0.0]
    assert all(value > 0 for value in m.samples["restorer"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "huge"), "wanted height x width of at most 200 megapixels, found huge"),
        (("--size", "0x5"), "wanted height x width"),
        (("--size", "²x3"), "wanted height x width"),
        (("--size", "20000x15000"), "at most 200 megapixels"),
        (("--backend", "onnxruntime", "--backend", "onnxruntime"), "onnxruntime twice"),
        (("--report", "."), "wanted a file, found a folder"),
        (("--report", "{bundle}/manifest.json"), "an input or output of this run"),
        (("--backend", "abacus"), "no backend"),
        (("--bundle", "nowhere"), "no bundle at nowhere"),
        (("--backend", "torch-eager", "--ir-weights", "x.pth"), "wanted both weights files"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], words: str, lorair_bench: Command, tiny_bundle: Path
) -> None:
    bundle = () if "--bundle" in arguments else ("--bundle", tiny_bundle)
    filled = [a.format(bundle=tiny_bundle) for a in arguments]
    result = lorair_bench("latency", *bundle, *filled)
    assert result.code == 2
    assert words in result.error
