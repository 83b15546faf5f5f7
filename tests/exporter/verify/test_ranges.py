"""The audit against PyTorch's own values, taken by hooks from the network before folding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.graphs.float32 import float32_bundle
from lorair.exporter.verify.compare import run
from lorair.exporter.verify.ranges import Range, audit
from lorair.exporter.verify.watch import Statistics, Value, Watched, values
from lorair.runtime.backends import select
from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.pixels import make_views, to_planes


def largest_by_hooks(pair: Pair, pixels: np.ndarray) -> dict[str, float]:
    """Module path -> the largest magnitude of what it returns."""
    found: dict[str, float] = {}

    def watch(module: torch.nn.Module) -> None:
        def keep(path: str) -> Any:
            def hook(_: object, __: object, output: Any) -> None:
                if isinstance(output, torch.Tensor):
                    found[path] = float(output.abs().max())

            return hook

        for path, inner in module.named_modules():
            inner.register_forward_hook(keep(path))

    router, net = pair.modules()
    watch(router)
    watch(net)
    with torch.inference_mode():
        views = make_views(pixels, pair.config.router.side)
        _, prior, gates = router(torch.from_numpy(views))
        net(torch.from_numpy(to_planes(pixels, net.stride)), prior, gates[0])
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_ranges_are_pytorch_s(
    precision: str,
    request: pytest.FixtureRequest,
    tiny_pair: Pair,
    photo: np.ndarray,
    tmp_path: Path,
) -> None:
    bundle = Bundle.open(
        request.getfixturevalue("tiny_bundle" if precision == "fp32" else "tiny_bundle_fp16")
    )
    pixels = photo[:64, :96]
    converted = tmp_path / "float32"
    converted.mkdir()
    reference = float32_bundle(bundle, converted)
    backend = OnnxRuntimeBackend(reference, None)
    views = make_views(pixels, bundle.manifest.model.clip_side)
    _, prior, gates = backend.route(views)
    image = to_planes(pixels, bundle.manifest.model.stride)
    inputs: Any = {
        "router": {"views": views},
        "restorer": {"image": image, "prior": prior, "gates": gates[0]},
    }
    found: dict[str, float | None] = {}
    for branch, graph in (("router", reference.router), ("restorer", reference.restorer)):
        folder = tmp_path / branch
        folder.mkdir()
        watched = Watched(backend, branch, graph, folder, "test")  # type: ignore[arg-type]
        measure = watched.statistics(values(graph))
        rows = audit(branch, values(graph), measure, [("p", inputs[branch])])  # type: ignore[arg-type]
        found |= {row.node: row.largest for row in rows}
        assert [row.largest for row in rows] == sorted((r.largest for r in rows), reverse=True)  # type: ignore[type-var]
    wanted = largest_by_hooks(tiny_pair, pixels)
    pairs = {
        "intro": "intro/LoRAMoEConv",
        "downs.2": "downs.2/LoRAMoEConv",
        "ending": "ending/LoRAMoEConv",
        "encoders.0.conv4": "encoders.0.conv4/LoRAMoEConv",
        "encoders.3.blocks.1": "encoders.3.blocks.1.conv5/LoRAMoEConvAdd",
        "middle_blks.blocks.0": "middle_blks.blocks.0.conv5/LoRAMoEConvAdd",
        "decoders.0.blocks.0": "decoders.0.blocks.0.conv5/LoRAMoEConvAdd",
        "decoders.3.blocks.0": "decoders.3.blocks.0.conv5/LoRAMoEConvAdd",
        "de_extractor.0": "de_extractor.0/Gemm",
        "cls_head": "cls_head/Gemm",
        "clip_model.vision_tower.vision_model.encoder.layers.1.layer_norm2": (
            "clip_model.vision_tower.vision_model.encoder.layers.1.layer_norm2/LayerNormalization"
        ),
    }
    for path, node in pairs.items():
        tolerance = 1e-5 if precision == "fp32" else 5e-3
        assert found[node] == pytest.approx(wanted[path], rel=tolerance), node


def test_the_worst_picture_counts() -> None:
    values = [Value("a", "a", "Conv", True), Value("a:1", "a", "Conv", True)]
    numbers = {1: (3.0, 70000.0), 2: (40000.0, 5.0)}

    def measure(inputs: Any) -> dict[str, Statistics]:
        first, second = numbers[inputs["n"]]
        return {"a": Statistics(first, 0, 1), "a:1": Statistics(second, 0, 1)}

    inputs: Any = [("one", {"n": 1}), ("two", {"n": 2})]
    (row,) = audit("restorer", values, measure, inputs)
    assert (row.largest, row.picture, row.overflows) == (70000.0, "one", True)


def test_margins() -> None:
    def row(largest: float | None) -> Range:
        return Range("router", 0, "n", "Conv", largest, "p")

    assert row(65504 / 8).to_dict()["bits"] == 3
    assert [row(x).is_close for x in (16000.0, 17000.0, None, 0.0)] == [False, True, True, False]
    assert [row(x).overflows for x in (65504.0, 65505.0, None)] == [False, True, True]
    assert row(0.0).to_dict()["factor"] is None
    assert row(None).to_dict()["bits"] is None


def test_float32_of_an_fp16_bundle(
    tiny_bundle_fp16: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    """The same weights, no float16 anywhere, and nearly the same picture."""
    import onnx
    from onnx import numpy_helper

    bundle = Bundle.open(tiny_bundle_fp16)
    converted = float32_bundle(bundle, tmp_path)
    for before, after in ((bundle.router, converted.router), (bundle.restorer, converted.restorer)):
        halves = {t.name: numpy_helper.to_array(t) for t in onnx.load(before).graph.initializer}
        model = onnx.load(after)
        onnx.checker.check_model(str(after), full_check=True)
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            assert array.dtype != np.float16
            np.testing.assert_array_equal(array, halves[tensor.name])
    pixels, model = photo[:40, :40], bundle.manifest.model
    exact = run(OnnxRuntimeBackend(converted, None), "p", pixels, model)
    half = run(select("onnxruntime", bundle), "p", pixels, model)
    assert 0 < np.abs(exact.restored - half.restored).max() < 2e-3
