"""The graphs that engines are made from, in the forms for plugins and for several pictures."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command import Command

from lorair.exporter.graphs.inlined import give_batch, inlined
from lorair.kernels import spec
from lorair.kernels.spec import FORMS
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.bundle.manifest import Bundle


@pytest.fixture
def restorer(bundle: Bundle) -> Path:
    """Where other graphs with the same weights can be put beside it."""
    return bundle.restorer


def of_ours(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.domain == spec.DOMAIN]


def session(model: onnx.ModelProto, beside: Path) -> onnxruntime.InferenceSession:
    path = beside.with_name("other.onnx")
    onnx.save(model, path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_operators_with_a_kernel_stay_nodes(restorer: Path) -> None:
    whole = onnx.load(restorer, load_external_data=False)
    model = inlined(restorer, "reduce", plugin=True)
    before = Counter(node.op_type for node in of_ours(whole))
    after = Counter(node.op_type for node in of_ours(model))
    # Of the plain convolutions those before the pixel shuffles; of the others all.
    shuffles = sum(node.op_type == "DepthToSpace" for node in whole.graph.node)
    assert after == {**before, spec.LORA_MOE_CONV: shuffles}
    assert set(after) == set(spec.OPERATORS)
    assert not model.functions
    for node in of_ours(model):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert (attributes["plugin_namespace"], attributes["plugin_version"]) == (b"lorair", b"1")
        assert not node.overload
        assert len(node.input) == len(FORMS[node.op_type].inputs)
        assert all(node.input)
        assert len(node.output) == len(FORMS[node.op_type].outputs)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_their_tensors_have_the_types_that_kernels_take(
    precision: str, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue("tiny_bundle" if precision == "fp32" else "tiny_bundle_fp16")
    model = inlined(bundle / "restorer.onnx", "reduce", plugin=True)
    values = (*model.graph.value_info, *model.graph.input)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    wanted = onnx.TensorProto.FLOAT if precision == "fp32" else onnx.TensorProto.FLOAT16
    for node in of_ours(model):
        form = FORMS[node.op_type]
        for name, tensor in zip(
            (*form.inputs, *form.outputs), (*node.input, *node.output), strict=True
        ):
            assert types[tensor] == (onnx.TensorProto.FLOAT if name == "gates" else wanted), tensor


def test_the_form_for_plugins_is_the_same_network(restorer: Path) -> None:
    """ONNX Runtime knows no plugins and takes the operators' bodies again."""
    model = inlined(restorer, "reduce", plugin=True)
    model.functions.extend(onnx.load(restorer, load_external_data=False).functions)
    generator = np.random.default_rng(1)
    inputs = {
        "image": generator.random((1, 3, 32, 48), np.float32),
        "prior": generator.random((1, 384), np.float32),
        "gates": np.array([0.25, 0, 0.75], np.float32),
    }
    (found,) = session(model, restorer).run(None, inputs)
    (wanted,) = session(inlined(restorer, "reduce"), restorer).run(None, inputs)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("plugin", [False, True])
def test_two_pictures_at_once_are_two_single_runs(restorer: Path, plugin: bool) -> None:
    single = session(inlined(restorer, "reduce"), restorer)
    model = inlined(restorer, "reduce", plugin=plugin)
    give_batch(model)
    if plugin:
        model.functions.extend(onnx.load(restorer, load_external_data=False).functions)
    generator = np.random.default_rng(2)
    images = generator.random((2, 3, 48, 32), np.float32)
    priors = generator.random((2, 384), np.float32)
    gates = np.array([0, 0.5, 0.5], np.float32)
    (found,) = session(model, restorer).run(
        None, {"image": images, "prior": priors, "gates": gates}
    )
    for i in range(2):
        one = {"image": images[i : i + 1], "prior": priors[i : i + 1], "gates": gates}
        np.testing.assert_allclose(found[i : i + 1], single.run(None, one)[0], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_the_graph_command(lorair_export: Command, tmp_path: Path) -> None:
    """One file, for programs that know nothing of bundles."""
    pictures, restored = [], []
    for form in ("plugin", "bodies"):
        target = tmp_path / f"{form}.onnx"
        result = lorair_export(
            "graph", "default", "-o", target, "--form", form, "--batch", "--json"
        )
        assert result.code == 0, result.err
        shown, model = json.loads(result.out), onnx.load(target)
        assert shown["plugins"] == len(of_ours(model)) == (59 if form == "plugin" else 0)
        assert not any(t.data_location for t in model.graph.initializer)
        pictures.append(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)
    assert pictures == ["batch", "batch"]
    made = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    whole = onnxruntime.InferenceSession(SHIPPED_BUNDLE / "restorer.onnx")
    rng = np.random.default_rng(3)
    inputs = {"image": rng.random((1, 3, 32, 48), np.float32)}
    inputs |= {"prior": rng.random((1, 128), np.float32)}
    inputs |= {"gates": np.array([0.5, 0, 0.5, 0], np.float32)}
    for one in (made, whole):
        restored.append(one.run(None, inputs)[0])
    np.testing.assert_allclose(restored[0], restored[1], atol=1e-5)
