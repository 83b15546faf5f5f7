"""Each body of each target, run by ONNX Runtime, against the PyTorch home of the operator."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from lorair.kernels import spec, torch_ops
from lorair.kernels.onnx_functions import TARGETS, Target, bodies

TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}

Inputs = dict[str, np.ndarray]

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float16])
all_targets = pytest.mark.parametrize("target", TARGETS)


def run_operator(
    name: str, target: Target, inputs: Inputs, outputs: tuple[str, ...] = ("Y",), **attributes: Any
) -> list[np.ndarray]:
    """A model of one node whose inputs are all the graph's."""
    dtype = inputs["X"].dtype.type
    node = helper.make_node(name, list(inputs), outputs, domain=spec.DOMAIN, **attributes)
    infos = [
        helper.make_tensor_value_info(key, TYPES[value.dtype.type], value.shape)
        for key, value in inputs.items()
    ]
    results = [helper.make_tensor_value_info(o, TYPES[dtype], [None] * 4) for o in outputs]
    model = helper.make_model(
        helper.make_graph([node], "one", infos, results),
        opset_imports=[
            helper.make_opsetid("", spec.ONNX_OPSET),
            helper.make_opsetid(spec.DOMAIN, spec.DOMAIN_VERSION),
        ],
        functions=bodies(target, float32=dtype is np.float32),
        ir_version=10,
    )
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found: list[np.ndarray] = session.run(None, inputs)
    return found


def draw_inputs(out: int, channels: int, k: int = 1, groups: int = 1, **more: Any) -> Inputs:
    rng = np.random.default_rng(0)
    shapes = {
        "X": (1, channels, 4, 10),
        "weight": (out, channels // groups, k, k),
        "lora_A": (3, 2 * k, channels * k),
        "lora_B": (3, out // groups * k, 2 * k),
        "gates": (3,),
        "bias": (out,),
        **more,
    }
    drawn = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return {**drawn, "gates": np.array([0.2, 0.0, 0.8])}


def typed(inputs: Inputs, dtype: Any) -> Inputs:
    return {k: v.astype(np.float32 if k == "gates" else dtype) for k, v in inputs.items()}


def check(found: np.ndarray, wanted: torch.Tensor, dtype: Any, roundings: int = 4) -> None:
    """Within a few roundings of the storage type, relative to the largest value."""
    scale = float(wanted.abs().max())
    tolerance = {np.float32: 1e-5, np.float16: roundings * 2**-11}[dtype] * scale
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=tolerance)


def tensors(inputs: Inputs) -> list[torch.Tensor]:
    return [torch.from_numpy(v.astype(np.float32)) for v in inputs.values()]


@all_targets
@both_types
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("k", "stride", "padding", "groups"), [(1, 1, 0, 1), (3, 1, 1, 1), (3, 1, 1, 6), (2, 2, 0, 1)]
)
def test_conv(
    k: int, stride: int, padding: int, groups: int, bias: bool, dtype: Any, target: Target
) -> None:
    inputs = typed(draw_inputs(6, 6, k, groups), dtype)
    if not bias:
        del inputs["bias"]
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4, "group": groups, "scale": 2.0}
    (found,) = run_operator(spec.LORA_MOE_CONV, target, inputs, **attributes)
    x, weight, A, B, gates, *rest = tensors(inputs)
    wanted = torch_ops.lora_moe_conv(
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
    check(found, wanted, dtype)


@all_targets
@both_types
@pytest.mark.parametrize("gate", [False, True])
def test_norm_conv(gate: bool, dtype: Any, target: Target) -> None:
    inputs = typed(draw_inputs(8, 6, lora_bias=(3, 8)), dtype)
    name = spec.NORM_LORA_MOE_CONV_GATE if gate else spec.NORM_LORA_MOE_CONV
    (found,) = run_operator(name, target, inputs, scale=2.0)
    wanted = torch_ops.norm_lora_moe_conv(*tensors(inputs), scale=2.0, gate=gate)
    check(found, wanted, dtype, roundings=8)


@all_targets
@both_types
def test_depthwise_gate(dtype: Any, target: Target) -> None:
    inputs = typed(draw_inputs(8, 8, 3, 8), dtype)
    found = run_operator(
        spec.LORA_MOE_DEPTHWISE_GATE, target, inputs, ("Y", "mean"), group=8, scale=2.0
    )
    wanted = torch_ops.lora_moe_depthwise_gate(*tensors(inputs), scale=2.0)
    for one, other in zip(found, wanted, strict=True):
        check(one, other, dtype, roundings=8)


@all_targets
@both_types
@pytest.mark.parametrize("scaled", [False, True])
def test_conv_add(scaled: bool, dtype: Any, target: Target) -> None:
    inputs = draw_inputs(8, 6, residual=(1, 8, 4, 10))
    factor = np.random.default_rng(1).normal(size=(1, 6, 1, 1))
    if scaled:
        x = inputs.pop("X")
        inputs = {"X": x, "channel_scale": factor, **inputs}
    inputs = typed(inputs, dtype)
    name = spec.SCALE_LORA_MOE_CONV_ADD if scaled else spec.LORA_MOE_CONV_ADD
    (found,) = run_operator(name, target, inputs, scale=2.0)
    arguments = dict(zip(inputs, tensors(inputs), strict=True))
    channel_scale = arguments.pop("channel_scale", None)
    wanted = torch_ops.lora_moe_conv_add(
        *arguments.values(), scale=2.0, channel_scale=channel_scale
    )
    check(found, wanted, dtype, roundings=8)


@all_targets
@both_types
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_norm_scale_add(mean: float, dtype: Any, target: Target) -> None:
    rng = np.random.default_rng(1)
    x = mean + rng.normal(size=(2, 12, 3, 5)) * 8
    scale, shift = rng.normal(size=(2, 2, 12, 1, 1))
    inputs = typed({"X": x, "channel_scale": scale, "channel_shift": shift}, dtype)
    (found,) = run_operator(spec.NORM_SCALE_ADD, target, inputs)
    check(found, torch_ops.norm_scale_add(*tensors(inputs)), dtype, roundings=8)


@all_targets
def test_norm_in_half_precision_does_not_overflow(target: Target) -> None:
    x = np.array([6e4, -6e4], np.float16).reshape(1, 2, 1, 1)
    # Multiples of 32, which float16 holds exactly up there.
    inputs = {"X": x, "channel_scale": np.full_like(x, 1024), "channel_shift": -x}
    (found,) = run_operator(spec.NORM_SCALE_ADD, target, inputs)
    assert found.ravel().tolist() == [1024.0, -1024.0]


@all_targets
def test_every_operator_has_a_body(target: Target) -> None:
    for float32 in (True, False):
        names = [body.name for body in bodies(target, float32=float32)]
        assert sorted(names) == sorted(spec.OPERATORS)


@all_targets
def test_float32_bodies_have_no_casts(target: Target) -> None:
    """Each would copy all merged weights at every run."""
    for body in bodies(target, float32=True):
        kinds = [node.op_type for node in body.node]
        assert "CastLike" not in kinds
        # One is the number of channels.
        assert kinds.count("Cast") <= (target == "cpu")
