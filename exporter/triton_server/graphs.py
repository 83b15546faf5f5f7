"""Between pictures and the networks' tensors, as ONNX graphs: a server needs no Python.

`prepare`  image (H, W, 3) uint8 -> views (1, 5, 3, S, S), planes (1, 3, H', W'), size (2)
`finish`   planes (1, 3, H', W'), size (2) -> restored (H, W, 3) uint8, is_finite (1) bool

They compute what `runtime.pixels` and `runtime.gpu.resampling` do, to the bit. Pillow's
bicubic is a product with a matrix of integers: in float64 every partial sum is exact,
whatever the order. The functions are compiled to graphs, not run.
"""

from typing import Any, Final

import onnx
import onnxscript
from onnx import TensorProto, numpy_helper
from onnxscript import script
from onnxscript.values import Opset

from lorair.kernels.spec import ONNX_OPSET
from lorair.runtime.gpu.resampling import PRECISION_BITS
from lorair.runtime.pixels import MEAN, STD

op: Any = getattr(onnxscript, f"opset{ONNX_OPSET}")
"""Standard operators; of type Any, because they are compiled here and not called."""

BOOL: Any = onnxscript.BOOL
FLOAT: Any = onnxscript.FLOAT
INT64: Any = onnxscript.INT64
UINT8: Any = onnxscript.UINT8

_IR_VERSION: Final = 10
_PICTURES: Final = Opset("lorair.pictures", 1)
_UNIT: Final = 2.0**PRECISION_BITS
_BYTE, _FLOAT, _INT32, _DOUBLE = (
    int(t) for t in (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.INT32, TensorProto.DOUBLE)
)
_MEAN, _STD = (numpy_helper.from_array(array.reshape(3, 1, 1)) for array in (MEAN, STD))


@script(_PICTURES, default_opset=op)
def bicubic(source, target):
    """The matrix (target, source) of Pillow's coefficients, as integers in float64.

    The operations of `resampling.bicubic_table` in their order, so that no coefficient
    differs. CumSum adds one after the other, as Pillow.
    """
    size = op.Cast(source, to=_DOUBLE)
    scale = size / op.Cast(target, to=_DOUBLE)
    stretch = op.Max(scale, 1.0)
    support = 2.0 * stretch
    outputs = op.Cast(op.Range(0, target, 1), to=_DOUBLE)
    centres = op.Unsqueeze((outputs + 0.5) * scale, [1])
    first = op.Floor(op.Max(centres - support + 0.5, 0.0))
    end = op.Floor(op.Min(centres + support + 0.5, size))

    j = op.Cast(op.Range(0, source, 1), to=_DOUBLE)
    x = op.Abs((j - centres + 0.5) * (1.0 / stretch))
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    cubic = op.Where(x < 1.0, near, op.Where(x < 2.0, far, op.CastLike(0.0, x)))
    weights = op.Where(op.And(j >= first, j < end), cubic, op.CastLike(0.0, x))
    shares = weights / op.Gather(op.CumSum(weights, 1), [-1], axis=1)
    away = op.Where(shares < 0.0, op.CastLike(-0.5, x), op.CastLike(0.5, x))
    # Truncated, as an integer in C.
    return op.Cast(op.Cast(away + shares * op.CastLike(_UNIT, x), to=_INT32), to=_DOUBLE)


@script(_PICTURES, default_opset=op)
def round_pass(sums):
    """Fixed-point sums, rounded and clipped to 0 to 255, in float64."""
    unit = op.CastLike(_UNIT, sums)
    whole = op.Floor((sums + 0.5 * unit) / unit)
    return op.Min(op.Max(whole, 0.0), 255.0)


@script(_PICTURES, default_opset=op)
def resize(planes, height, width, side):
    """Planes (3, H, W) to (3, side, side), the width first."""
    across = op.Transpose(bicubic(width, side), perm=[1, 0])
    return round_pass(op.MatMul(bicubic(height, side), round_pass(op.MatMul(planes, across))))


def prepare(side: int, stride: int) -> Any:
    """Return the graph before the networks.

    Args:
        side: of a view, S.
        stride: H' and W' are multiples of it.

    Returns:
        an onnx.ModelProto.
    """
    twice, quartered, stacked = 2 * side, [3, 2, side, 2, side], [4, 3, side, side]

    @script(default_opset=op)
    def prepare(image):
        size = op.Shape(image, start=0, end=2)
        height = op.Gather(size, 0, axis=0)
        width = op.Gather(size, 1, axis=0)
        channels = op.Transpose(image, perm=[2, 0, 1])

        exact = op.Cast(channels, to=_DOUBLE)
        whole = resize(exact, height, width, side)
        halves = op.Reshape(resize(exact, height, width, twice), quartered)
        quarters = op.Reshape(op.Transpose(halves, perm=[1, 3, 0, 2, 4]), stacked)
        stack = op.Cast(op.Concat(op.Unsqueeze(whole, [0]), quarters, axis=0), to=_FLOAT)
        mean = op.Constant(value=_MEAN)
        std = op.Constant(value=_STD)
        views = op.Unsqueeze((stack / 255.0 - mean) / std, [0])

        missing = op.Mod(-size, stride)
        pads = op.Concat([0, 0, 0, 0], missing, axis=0)
        planes = op.Unsqueeze(op.Pad(op.Cast(channels, to=_FLOAT) / 255.0, pads), [0])
        return views, planes, size

    results = [FLOAT[1, 5, 3, side, side], FLOAT[1, 3, "H", "W"], INT64[2]]
    return _model(prepare, [UINT8["height", "width", 3]], results)


def finish() -> Any:
    """Return the graph behind the networks, an onnx.ModelProto."""

    @script(default_opset=op)
    def finish(planes, size):
        cropped = op.Slice(op.Squeeze(planes, [0]), [0, 0], size, [1, 2])
        pixels = op.Clip(op.Transpose(cropped, perm=[1, 2, 0]), 0.0, 1.0)
        restored = op.Cast(op.Round(pixels * 255.0), to=_BYTE)
        bad = op.Cast(op.Or(op.IsNaN(planes), op.IsInf(planes)), to=_INT32)
        is_finite = op.Unsqueeze(op.ReduceMax(bad, keepdims=0) == 0, [0])
        return restored, is_finite

    inputs = [FLOAT[1, 3, "H", "W"], INT64[2]]
    return _model(finish, inputs, [UINT8["height", "width", 3], BOOL[1]])


def _model(function: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    model = function.to_model_proto(
        input_types=inputs, output_types=outputs, ir_version=_IR_VERSION
    )
    model.producer_name = "lorair"
    onnx.checker.check_model(model, full_check=True)
    return model
