"""What onnxslim and onnxsim make of the default model's graphs is valid and computes the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lorair.exporter.graphs.inlined import write_restorer
from lorair.runtime.bundle.manifest import Bundle

onnxslim = pytest.importorskip("onnxslim")
onnxsim = pytest.importorskip("onnxsim")


def outputs(graph: onnx.ModelProto, side: int) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    shapes = {"views": (1, 5, 3, side, side), "image": (1, 3, 32, 48), "prior": (1, 128)}
    inputs = {name: generator.random(shape, np.float32) for name, shape in shapes.items()}
    inputs["gates"] = np.array([0.5, 0, 0.5, 0], np.float32)
    made: list[np.ndarray] = session.run(
        None, {value.name: inputs[value.name] for value in session.get_inputs()}
    )
    return made


def slimmed(graph: onnx.ModelProto) -> Any:
    return onnxslim.slim(graph)


def simplified(graph: onnx.ModelProto) -> Any:
    model, is_checked = onnxsim.simplify(graph)
    assert is_checked
    return model


@pytest.mark.parametrize("form", ["router", "restorer", "bodies"])
def test_simplified_graphs_are_valid_and_equal(
    form: str, default_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(default_bundle)
    path = {"router": bundle.router, "restorer": bundle.restorer}.get(form)
    if path is None:
        write_restorer(bundle, path := tmp_path / "bodies.onnx")
    graph, side = onnx.load(path), bundle.manifest.model.clip_side
    wanted = outputs(graph, side)
    for simplify in (slimmed, simplified):
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        simple = simplify(copy)
        onnx.checker.check_model(simple, full_check=True)
        said = {prop.key: prop.value for prop in simple.metadata_props}
        assert said["license"] == "Apache-2.0"
        if form == "bodies":
            assert len(simple.graph.node) < 0.6 * len(graph.graph.node), (
                "what is constant is folded"
            )
        for ours, theirs in zip(wanted, outputs(simple, side), strict=True):
            np.testing.assert_allclose(theirs, ours, atol=5e-6)
