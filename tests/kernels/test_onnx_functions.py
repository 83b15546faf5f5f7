"""Each body, run by ONNX Runtime, against the PyTorch home of the same operator."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from lorair.kernels import spec
from lorair.kernels.onnx_functions import portable_bodies
from lorair.kernels.torch_ops import layer_norm_2d, lora_moe_conv

TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def run_operator(name: str, inputs: dict[str, np.ndarray], **attributes: Any) -> np.ndarray:
    """A model of one node whose inputs are all the graph's."""
    dtype = inputs["X"].dtype.type
    node = helper.make_node(name, list(inputs), ["Y"], domain=spec.DOMAIN, **attributes)
    infos = [
        helper.make_tensor_value_info(key, TYPES[value.dtype.type], value.shape)
        for key, value in inputs.items()
    ]
    graph = helper.make_graph(
        [node], "one", infos, [helper.make_tensor_value_info("Y", TYPES[dtype], [None] * 4)]
    )
    model = helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", spec.ONNX_OPSET),
            helper.make_opsetid(spec.DOMAIN, spec.DOMAIN_VERSION),
        ],
        functions=portable_bodies(float32=dtype is np.float32),
        ir_version=10,
    )
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found: np.ndarray = session.run(None, inputs)[0]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("k", "stride", "padding", "groups"), [(1, 1, 0, 1), (3, 1, 1, 1), (3, 1, 1, 6), (2, 2, 0, 1)]
)
def test_conv(k: int, stride: int, padding: int, groups: int, bias: bool, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    inputs = {
        "X": rng.normal(size=(1, 6, 4, 10)),
        "weight": rng.normal(size=(6, 6 // groups, k, k)),
        "lora_A": rng.normal(size=(3, 2 * k, 6 * k)),
        "lora_B": rng.normal(size=(3, 6 // groups * k, 2 * k)),
        "gates": np.array([0.2, 0.0, 0.8]),
    }
    if bias:
        inputs["bias"] = rng.normal(size=6)
    inputs = {k: v.astype(np.float32 if k == "gates" else dtype) for k, v in inputs.items()}
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4, "group": groups, "scale": 2.0}
    found = run_operator(spec.LORA_MOE_CONV, inputs, **attributes)
    x, weight, A, B, gates, *rest = (
        torch.from_numpy(v.astype(np.float32)) for v in inputs.values()
    )
    wanted = lora_moe_conv(
        x,
        weight,
        A,
        B,
        gates,
        rest[0] if rest else None,
        stride=stride,
        padding=padding,
        groups=groups,
        scale=2.0,
    )
    # The merged kernel and the result are each rounded once to the storage type.
    scale = float(wanted.abs().max())
    tolerance = {np.float32: 1e-5, np.float16: 4 * 2**-11}[dtype] * scale
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=tolerance)
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_layer_norm(mean: float, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x = (mean + rng.normal(size=(2, 12, 3, 5)) * 8).astype(dtype)
    weight, bias = (rng.normal(size=12).astype(dtype) for _ in range(2))
    found = run_operator(spec.LAYER_NORM_2D, {"X": x, "weight": weight, "bias": bias})
    wanted = layer_norm_2d(*(torch.from_numpy(a.astype(np.float32)) for a in (x, weight, bias)))
    tolerance = {np.float32: 1e-4, np.float16: 6 * 2**-11}[dtype]
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=tolerance)


def test_layer_norm_in_half_precision_does_not_overflow() -> None:
    x = np.array([6e4, -6e4], np.float16).reshape(1, 2, 1, 1)
    ones, zeros = np.ones(2, np.float16), np.zeros(2, np.float16)
    found = run_operator(spec.LAYER_NORM_2D, {"X": x, "weight": ones, "bias": zeros})
    assert found.ravel().tolist() == [1.0, -1.0]


def test_float32_bodies_have_no_casts() -> None:
    """Each would copy all merged weights at every run."""
    conv, norm = portable_bodies(float32=True)
    assert [n.op_type for n in conv.node if n.op_type.startswith("Cast")] == []
    assert [n.op_type for n in norm.node if n.op_type == "CastLike"] == []
