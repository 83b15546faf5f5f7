"""What a person sees in Netron, and what a runtime may rely on."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.graphs.metadata import facts, write_facts
from lorair.exporter.graphs.onnx_export import export_router
from lorair.kernels import spec
from lorair.runtime.bundle.manifest import Bundle, Source
from lorair.runtime.system.console import lorair_version


@pytest.fixture(params=["tiny_bundle", "tiny_bundle_fp16"])
def bundle(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def graph(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def test_graphs_pass_the_checker(bundle: Path) -> None:
    graphs = list(bundle.glob("*.onnx"))
    assert len(graphs) == 7
    for path in graphs:
        onnx.checker.check_model(str(path), full_check=True)


def test_graphs_are_no_newer_than_they_need(bundle: Path) -> None:
    """Gelu came with operator set 20, which format 9 is the first to know."""
    for path in bundle.glob("*.onnx"):
        model = graph(path)
        standard = [opset for opset in model.opset_import if not opset.domain]
        assert [opset.version for opset in standard] == [20], path
        assert model.ir_version == onnx.helper.find_min_ir_version_for(standard) == 9, path
        assert "Gelu" in {node.op_type for node in model.graph.node}, path
    assert onnx.defs.get_schema("Gelu").since_version == 20


def test_graphs_say_what_they_are(bundle: Path) -> None:
    """Of made-up weights nobody knows a licence."""
    precision = Bundle.open(bundle).manifest.precision
    said = {"version": lorair_version(), "classes": "snow,rain,raindrop", "precision": precision}
    for path in bundle.glob("*.onnx"):
        model = graph(path)
        assert {prop.key: prop.value for prop in model.metadata_props} == said, path
        assert model.producer_name == "lorair"
    session = onnxruntime.InferenceSession(bundle / "router.onnx")
    assert session.get_modelmeta().custom_metadata_map == said


@pytest.mark.parametrize(
    ("kind", "repo", "added", "license"),
    [
        ("default", None, (), "Apache-2.0"),
        ("default", None, ("haze",), None),
        ("hub", "shallowdream204/LoRA-IR", (), "Apache-2.0"),
        ("hub", "somebody/else", (), None),
        ("files", None, (), None),
    ],
)
def test_a_license_that_is_known(
    kind: Any, repo: str | None, added: tuple[str, ...], license: str | None
) -> None:
    known = facts(("a",), "fp32", Source(kind=kind, detail="", repo=repo, added=added))
    assert known.get("license") == license


def test_every_node_is_named_after_its_module(bundle: Path, tiny_pair: Pair) -> None:
    """Those of a body after the operator that it computes."""
    modules = {name for module in tiny_pair.modules() for name, _ in module.named_modules()}
    for path in bundle.glob("*.onnx"):
        nodes = [node.name for node in graph(path).graph.node]
        assert len(set(nodes)) == len(nodes), path
        scopes = {name.partition("/")[0] for name in nodes if "/" in name} - {"tiles"}
        assert scopes <= modules, path
        assert len([name for name in nodes if "/" not in name]) < 40, path


@pytest.mark.parametrize("name", ["router.onnx", "restorer.onnx"])
def test_names_are_module_paths(bundle: Path, name: str) -> None:
    model = graph(bundle / name)
    nodes = [node.name for node in model.graph.node]
    assert len(set(nodes)) == len(nodes)
    tensors = [t for node in model.graph.node for t in (*node.input, *node.output) if t]
    for text in nodes + tensors + [i.name for i in model.graph.initializer]:
        assert not re.search(r"\bnode_|\bval_\d|_symbolic|_empty_nn", text), text
    for node in model.graph.node:
        if node.op_type == spec.LORA_MOE_CONV:
            path = node.name.removesuffix(f"/{spec.LORA_MOE_CONV}")
            assert list(node.input[1:5]) == [
                f"{path}.conv.weight",
                f"{path}.lora_A_list",
                f"{path}.lora_B_list",
                "gates",
            ]


def test_a_block_is_six_nodes(bundle: Path) -> None:
    model = graph(bundle / "restorer.onnx")
    kinds = Counter((node.domain, node.op_type) for node in model.graph.node)
    blocks, modulations = 10, 5
    for name in (
        spec.NORM_LORA_MOE_CONV,
        spec.NORM_LORA_MOE_CONV_GATE,
        spec.LORA_MOE_DEPTHWISE_GATE,
        spec.SCALE_LORA_MOE_CONV_ADD,
        spec.LORA_MOE_CONV_ADD,
    ):
        assert kinds[spec.DOMAIN, name] == blocks, name
    # SCA's; 4 downs, 4 ups, intro, ending and two of the prior.
    assert kinds[spec.DOMAIN, spec.LORA_MOE_CONV] == blocks + 4 * modulations + 12
    assert kinds[spec.DOMAIN, spec.NORM_SCALE_ADD] == modulations
    assert kinds["", "Conv"] == 0
    assert {f.name for f in model.functions} == set(spec.OPERATORS)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_bound_graphs_are_standard_and_share_the_weights(bundle: Path, runtime: str) -> None:
    model = graph(bundle / f"restorer.{runtime}.onnx")
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert [value.name for value in model.graph.input] == ["image", "prior"]
    gates = next(t for t in model.graph.initializer if t.name == "gates")
    # ONNX Runtime replaces external initializers only.
    assert gates.data_location == TensorProto.EXTERNAL
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {"restorer.onnx.data"}


def test_inputs_and_outputs(bundle: Path) -> None:
    restorer, router = graph(bundle / "restorer.onnx").graph, graph(bundle / "router.onnx").graph

    def described(values: Iterable[onnx.ValueInfoProto]) -> dict[str, list[object]]:
        return {
            v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in values
        }

    image = [1, 3, "16*h", "16*w"]
    assert described(restorer.input) == {"image": image, "prior": [1, 384], "gates": [3]}
    assert described(restorer.output) == {"restored": image}
    assert described(router.input) == {"views": ["batch", 5, 3, 56, 56]}
    assert described(router.output) == {
        "logits": ["batch", 3],
        "prior": ["batch", 384],
        "gates": ["batch", 3],
    }
    for value in (*restorer.input, *restorer.output, *router.input, *router.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT


def test_nothing_of_the_exporting_machine_is_left(bundle: Path) -> None:
    for name in ("router.onnx", "restorer.onnx"):
        content = (bundle / name).read_bytes()
        assert str(Path.home()).encode() not in content
        assert b"site-packages" not in content
        assert b".py" not in content


def test_weights_lie_beside_the_graph(bundle: Path) -> None:
    for name in ("router.onnx", "restorer.onnx"):
        assert (bundle / name).stat().st_size < 500_000
        assert (bundle / f"{name}.data").stat().st_size > 1_000_000


def test_half_precision_is_in_the_types(tiny_bundle_fp16: Path) -> None:
    """fp16 weights and convolutions; no precision flag that a builder could drop."""
    model = onnx.load(tiny_bundle_fp16 / "restorer.onnx")
    weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    assert {
        a.dtype for n, a in weights.items() if n.endswith(("weight", "bias", "_list", "beta"))
    } == {np.dtype(np.float16)}
    router = onnx.load(tiny_bundle_fp16 / "router.onnx")
    types = {i.name: i.data_type for i in router.graph.initializer}
    tower = [t for n, t in types.items() if n.startswith("clip_model") and "weight" in n]
    assert set(tower) == {TensorProto.FLOAT16}
    assert types["cls_head.weight"] == TensorProto.FLOAT


def test_export_is_reproducible(tiny_pair: Pair, tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "router.onnx"
    export_router(tiny_pair.modules()[0], tiny_pair.config.router, path)
    write_facts(path, facts(tiny_pair.config.classes, "fp32"))
    assert path.read_bytes() == (tiny_bundle / path.name).read_bytes()
