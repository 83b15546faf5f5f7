"""A small sweep end to end, and its parts against independent counts."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command
from results import experts_report, row

from lorair.benchmarks.experts import measure as experts
from lorair.benchmarks.experts.forms import FormRunner, FormSpec
from lorair.benchmarks.experts.measure import draw_route
from lorair.benchmarks.schema.costs import ExpertsReport
from lorair.benchmarks.schema.results_file import read_report, to_json
from lorair.benchmarks.timing.graphs import size_on_disk, write_gates, write_merged
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.runtime import images
from lorair.runtime.errors import ResultError, VerificationError
from lorair.runtime.pixels import to_planes

NOBODY: Any = None
"""For forms that are not run."""

BACKENDS = ("onnxruntime", "openvino")


@pytest.mark.parametrize(("experts", "top_k"), [(1, 1), (4, 1), (4, 2), (16, 4)])
def test_routes(experts: int, top_k: int) -> None:
    gates = np.array(draw_route(experts, top_k))
    assert gates.shape == (experts,)
    assert np.count_nonzero(gates) == top_k
    assert gates.sum() == pytest.approx(1)
    assert draw_route(experts, top_k) == tuple(gates), "the same again"


@pytest.mark.parametrize("backend", BACKENDS)
def test_forms_give_the_network_s_picture(
    backend: str, tiny_bundle: Path, tiny_pair: Pair, picture_file: Path, tmp_path: Path
) -> None:
    """Against PyTorch, which merges nothing beforehand, with two of three experts."""
    gates = np.array([0.25, 0.75], np.float32)
    graph, merged = tmp_path / "gates.onnx", tmp_path / "merged.onnx"
    write_gates(tiny_bundle, backend, 2, graph)
    write_merged(graph, gates, merged)
    found = {}
    for form, spec in (
        ("merged", FormSpec(tiny_bundle, backend, 1, graph=merged)),
        ("gates", FormSpec(tiny_bundle, backend, 1, graph=graph, gates=tuple(map(float, gates)))),
    ):
        runner = FormRunner(spec)
        seconds = runner.run(picture_file, tmp_path / f"{form}.npy")
        assert seconds["restorer"] > 0
        found[form] = np.load(tmp_path / f"{form}.npy")
        prior = runner.inputs["prior"]
    _, net = tiny_pair.modules()
    planes = torch.from_numpy(to_planes(images.read(picture_file).pixels, 16))
    with torch.inference_mode():
        whole = torch.from_numpy(np.append(gates, np.float32(0)))
        wanted = net(planes, torch.from_numpy(prior), whole).numpy()
    for picture in found.values():
        np.testing.assert_allclose(picture, wanted, atol=1e-5)


def test_sizes_on_disk_are_those_of_the_weights(
    tiny_bundle: Path, tiny_pair: Pair, tmp_path: Path
) -> None:
    """Four bytes a weight; LayerNorm's, beta and gamma are folded into others, graphs are small."""
    sizes = {}
    for count in (1, 3):
        graph = tmp_path / f"{count}.onnx"
        write_gates(tiny_bundle, "onnxruntime", count, graph)
        sizes[count] = size_on_disk(graph)
    write_merged(graph, np.array([0, 1, 0], np.float32), tmp_path / "merged.onnx")
    merged = size_on_disk(tmp_path / "merged.onnx")
    of_experts = sum(t.numel() for n, t in tiny_pair.ir.items() if "lora" in n)
    ordinary = sum(t.numel() for n, t in tiny_pair.ir.items() if "lora" not in n)
    assert merged == pytest.approx(4 * ordinary, rel=0.06)
    # What the folded norms' shift adds to each expert is not in the checkpoint.
    assert sizes[3] - sizes[1] == pytest.approx(4 * of_experts * 2 / 3, rel=0.03)


def test_the_command(
    lorair_bench: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "experts.json"
    monkeypatch.setattr(experts, "build_network", lambda *a: shutil.copytree(tiny_bundle, a[-1]))
    monkeypatch.setattr(experts, "SWITCHES", 1)
    result = lorair_bench(
        "experts", "--experts", 1, "--experts", 3, "--top-k", 1, "--size", "32x48",
        "--rounds", 6, "--threads", 1, "--report", report,
    )  # fmt: skip
    assert result.code == 0, result.err
    document = read_report(report)
    assert isinstance(document, ExpertsReport)
    assert document.complete
    assert (document.preset, document.backend) == ("tiny", "onnxruntime")
    forms = ("merged", "gates")
    mixtures = ((1, 1), (3, 1))
    assert {(r.experts, r.top_k, r.form) for r in document.rows} == {
        (*m, form) for m in mixtures for form in forms
    }
    for r in document.rows:
        assert (r.size, r.rank) == ("32x48", 4)
        assert len(r.samples) == 6
        assert r.p50 == pytest.approx(np.median(r.samples))
        assert r.peak_memory is None or 50e6 < r.peak_memory < 2e9
        assert r.bundle_bytes is not None
        expected = None if r.experts == 1 else 0 if r.form == "gates" else r.switch_seconds
        assert r.switch_seconds == expected
    assert any("Each expert adds" in sentence for sentence in document.crossover)
    for words in ("merged", "gates", "32x48", "Each expert adds"):
        assert words in result.out


def test_forms_that_differ_are_an_error(tmp_path: Path) -> None:
    paths = [tmp_path / "merged.npy", tmp_path / "gates.npy"]
    timed = [experts.TimedForm(row(form, 2, []), NOBODY) for form in ("merged", "gates")]
    for path, value in zip(paths, (0.5, 0.5 + 5e-6), strict=True):
        np.save(path, np.full((1, 3, 4, 4), value))
    experts.compare_pictures(timed, paths, "onnxruntime")
    for wrong in (0.6, np.nan):
        np.save(paths[1], np.full((1, 3, 4, 4), wrong))
        with pytest.raises(VerificationError, match="merged weights give another picture"):
            experts.compare_pictures(timed, paths, "onnxruntime")


def test_a_row_twice_is_refused(tmp_path: Path) -> None:
    content = to_json(experts_report(row("gates", 2, [0.1])))
    content["rows"] *= 2
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ResultError, match="a row is there twice"):
        read_report(tmp_path / "a.json")
