"""Each body of each target, run by ONNX Runtime, against the PyTorch home of the operator."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from operators import draw, loops

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


def draw_inputs(out: int, channels: int, k: int = 1, groups: int = 1) -> Inputs:
    rng = np.random.default_rng(0)
    shapes = {
        "X": (1, channels, 4, 10),
        "weight": (out, channels // groups, k, k),
        "lora_A": (3, 2 * k, channels * k),
        "lora_B": (3, out // groups * k, 2 * k),
        "gates": (3,),
        "bias": (out,),
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
    tensors = [torch.from_numpy(v.astype(np.float32)) for v in inputs.values()]
    geometry = {"stride": stride, "padding": padding, "groups": groups}
    wanted = torch_ops.lora_moe_conv(*tensors, *[None] * (not bias), **geometry, scale=2.0)
    check(found, wanted, dtype)


@all_targets
@both_types
@pytest.mark.parametrize(
    ("operator", "mean"), [*((one, 0.0) for one in spec.OPERATORS), (spec.NORM_SCALE_ADD, 300.0)]
)
def test_bodies_compute_their_operators(
    operator: str, mean: float, dtype: Any, target: Target
) -> None:
    given = draw(operator, torch.float32, (2, 6, 4, 10))
    inputs = typed({n: t.numpy() * 8 + mean if n == "x" else t.numpy() for n, t in given.items()},
                   dtype)  # fmt: skip
    wanted = loops(operator, {n: torch.from_numpy(v) for n, v in inputs.items()}, 2.0)
    inputs = {"X": inputs.pop("x"), **inputs}
    attributes: dict[str, Any] = {} if operator == spec.NORM_SCALE_ADD else {"scale": 2.0}
    if operator == spec.LORA_MOE_CONV:
        attributes |= {"strides": [1, 1], "pads": [0] * 4, "group": 1}
    if operator == spec.LORA_MOE_DEPTHWISE_GATE:
        attributes["group"] = 6
    outputs = ("Y", "mean")[: len(wanted)]
    found = run_operator(operator, target, inputs, outputs, **attributes)
    for one, other in zip(found, wanted, strict=True):
        check(one, torch.from_numpy(other.value), dtype, roundings=8)


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
