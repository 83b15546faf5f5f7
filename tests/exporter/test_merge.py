"""Merged graphs as other programs run them, against the restorer that merges by itself."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command import Command
from processes import LIMIT

from lorair import Restorer
from lorair.exporter.checkpoint.synth import draw_pair, write_pair
from lorair.exporter.merge import experts_of, merge
from lorair.exporter.model.config import TINY
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.pixels import as_uint8, make_views
from lorair.runtime.routing.gates import parse_gates

SIZES = ((48, 64), (37, 91), (16, 16))

VS_MLRT = """
import sys
import numpy as np, onnxruntime
graph, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
(given,), (made,) = session.get_inputs(), session.get_outputs()
assert given.type == made.type == "tensor(float)" and given.shape[:2] == [1, 3]
planes, side, overlap = np.load(source), 64, 16   # planar RGB, float, 0 to 1
out = np.empty_like(planes)
for top in range(0, planes.shape[1] - overlap, side - overlap):
    for left in range(0, planes.shape[2] - overlap, side - overlap):
        y, x = min(top, planes.shape[1] - side), min(left, planes.shape[2] - side)
        tile = np.ascontiguousarray(planes[None, :, y : y + side, x : x + side])
        (result,) = session.run(None, {given.name: tile})
        a, b = overlap // 2 if y else 0, overlap // 2 if x else 0
        out[:, y + a : y + side, x + b : x + side] = result[0, :, a:, b:]
assert "lorair" not in sys.modules
np.save(target, out)
"""


def pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.random((*size, 3), dtype=np.float32) for size in SIZES]


def planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def run(graph: Path, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    image: np.ndarray = session.run(None, inputs)[0][0].transpose(1, 2, 0)
    return image


def operators(model: onnx.ModelProto) -> set[str]:
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    onnx.checker.check_model(model, full_check=True)
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("gates", ["rain=1", "snow=0.25,rain=0.75"])
def test_a_merged_graph_is_the_restorer_under_those_gates(
    gates: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    restorer, graph = Restorer.open(tiny_bundle, "onnxruntime"), tmp_path / "merged.onnx"
    shares = parse_gates(gates, restorer.bundle.manifest.model.classes)
    model = merge(experts_of(restorer.bundle), shares, graph, any_size=True)
    assert "MatMul" not in operators(model), "nothing is left to merge"
    assert [value.name for value in model.graph.input] == ["image", "prior"]
    for image in pictures():
        route = restorer.route(image).with_gates(shares)
        wanted = restorer.restore(image, route).image
        restored = run(graph, image=planes(image), prior=route.prior[None])
        np.testing.assert_allclose(restored, wanted, atol=1e-5)


def test_with_a_route_the_picture_is_the_only_input(
    tiny_bundle: Path, lorair_run: Command, lorair_export: Command, tmp_path: Path
) -> None:
    """Driven as vs-mlrt does it, in a process without lorair: planar tiles of 4 strides."""
    restorer = Restorer.open(tiny_bundle, "onnxruntime")
    image = np.random.default_rng(7).random((112, 112, 3), dtype=np.float32)
    route, graph = tmp_path / "a.route.json", tmp_path / "merged.onnx"
    source = tmp_path / "source.npy"
    np.save(source, planes(image)[0])
    from lorair.runtime.routing.file import save

    save(route, restorer.route(image), restorer.bundle, "a")
    arguments = ("--route", route, "--expert", "snow", "-o", graph)
    result = lorair_export("merge", tiny_bundle, *arguments)
    assert "inputs  input" in result.out
    assert result.code == 0, result.err
    model = onnx.load(graph)
    assert operators(model).isdisjoint({"Gelu", "Sigmoid", "MatMul"}), "the prior is folded"
    ends = [value.name for value in (*model.graph.input, *model.graph.output)]
    assert ends == ["input", "output"], "vsmlrt.inference and ComfyUI's nodes look for these"
    assert model.graph.input[0].type.tensor_type.shape.dim[2].dim_param == "16*h"

    target = tmp_path / "target.npy"
    command = [sys.executable, "-I", "-c", VS_MLRT, graph, source, target]
    subprocess.run(command, check=True, timeout=LIMIT)
    under = restorer.route(image).with_gates(np.array([1, 0, 0], np.float32))
    restored = np.load(target).transpose(1, 2, 0)
    for y, x in ((0, 0), (48, 0), (0, 48), (48, 48)):
        tile = restorer.restore(np.ascontiguousarray(image[y : y + 64, x : x + 64]), under).image
        a, b = 8 if y else 0, 8 if x else 0
        own = restored[y + a : y + 56, x + b : x + 56]
        np.testing.assert_allclose(own, tile[a:56, b:56], atol=1e-5)


def test_half_precision_stays_what_it_is(tiny_bundle_fp16: Path, tmp_path: Path) -> None:
    restorer, graph = Restorer.open(tiny_bundle_fp16, "onnxruntime"), tmp_path / "merged.onnx"
    shares = parse_gates("raindrop=1", restorer.bundle.manifest.model.classes)
    model = merge(experts_of(restorer.bundle), shares, graph)
    assert "CastLike" not in operators(model)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    weights = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    assert {types[name] for name in weights} == {onnx.TensorProto.FLOAT16}
    image = pictures()[0]
    route = restorer.route(image).with_gates(shares)
    restored = run(graph, image=planes(image), prior=route.prior[None])
    np.testing.assert_allclose(restored, restorer.restore(image, route).image, atol=4e-3)


def test_from_a_checkpoint_the_same_network(
    tiny_files: tuple[Path, Path], tiny_bundle: Path, lorair_export: Command, tmp_path: Path
) -> None:
    graphs = [tmp_path / "file.onnx", tmp_path / "bundle.onnx"]
    named = ("--classes", "snow,rain,raindrop", "--gates", "rain=0.5,snow=0.5", "--no-clamp")
    assert lorair_export("merge", tiny_files[0], *named, "-o", graphs[0]).code == 0
    assert lorair_export("merge", tiny_bundle, *named[2:], "-o", graphs[1]).code == 0
    assert onnx.load(graphs[0]).SerializeToString() == onnx.load(graphs[1]).SerializeToString()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--expert, --gates or --route"),
        (("--expert", "rain", "--gates", "rain=1"), "no --gates beside it"),
        (("--expert", "fog"), "snow, rain, raindrop"),
        (("--expert", "rain", "--fp16"), "build --fp16"),
        (("--expert", "rain", "--classes", "a,b,c"), "--classes"),
    ],
)
def test_what_cannot_be_merged_is_said(
    arguments: tuple[str, ...], message: str, tiny_bundle: Path, lorair_export: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    result = lorair_export("merge", tiny_bundle, *arguments, "-o", tmp_path / "merged.onnx")
    assert result.code == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_no_route_and_as_many_names_as_experts(
    tiny_files: tuple[Path, Path], lorair_export: Command, tmp_path: Path
) -> None:
    for arguments, message in (
        (("--route", tmp_path / "a.route.json"), "whose router made it"),
        (("--expert", "a", "--classes", "a,b"), "3 names"),
    ):
        result = lorair_export("merge", tiny_files[0], *arguments, "-o", tmp_path / "merged.onnx")
        assert (result.code, list(tmp_path.iterdir())) == (2, [])
        assert message in result.err


def test_a_damaged_bundle_is_not_merged(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    files = {**bundle.manifest.files}
    files["restorer.onnx.data"] = files["restorer.onnx"]
    with pytest.raises(Exception, match=r"restorer\.onnx\.data"):
        experts_of(Bundle(bundle.path, bundle.manifest.model_copy(update={"files": files})))


def test_a_bundle_of_one_expert(lorair_export: Command, tmp_path: Path) -> None:
    """Of one level, which is exported in a third of the time."""
    config = replace(TINY.restoration, enc_blk_nums=(1,), dec_blk_nums=(1,))
    pair = draw_pair(replace(TINY, restoration=config), seed=1)
    (tmp_path / "weights").mkdir()
    files = write_pair(pair, tmp_path / "weights", "small")
    weights = ("--ir-weights", files[0], "--router-weights", files[1])
    named = ("--classes", "snow,rain,raindrop", "-o", tmp_path / "bundle")
    result = lorair_export("build", *weights, *named, "--merge", "rein")
    assert (result.code, "snow, rain, raindrop" in result.err) == (2, True)
    result = lorair_export("build", *weights, *named, "--merge", "rain")
    assert result.code == 0, result.err
    one = Restorer.open(tmp_path / "bundle", "onnxruntime")
    assert one.bundle.manifest.model.classes == ("rain",)
    assert one.bundle.manifest.source.detail.endswith("; rain alone")
    image = pictures()[0]
    restored = one.restore(image)
    assert restored.route.gates.tolist() == [1.0]
    router, net = pair.modules()
    views = make_views(as_uint8(image), router.side)
    with torch.inference_mode():
        _, prior, _ = router(torch.from_numpy(views))
        gates = torch.tensor([0.0, 1.0, 0.0])
        wanted = net.restore(torch.from_numpy(planes(image)), prior, gates)[0].permute(1, 2, 0)
    np.testing.assert_allclose(restored.route.prior, prior[0], atol=1e-5)
    np.testing.assert_allclose(restored.image, wanted.clamp(0, 1), atol=1e-5)
