"""Between pictures and the networks' tensors, as ONNX graphs: a server needs no Python.

`prepare`  image (H, W, 3) uint8 -> views (1, 5, 3, S, S), planes (1, 3, H', W'), size (2)
`finish`   planes (1, 3, H', W'), size (2) -> restored (H, W, 3) uint8, is_finite (1) bool

They compute what `runtime.pixels` and `runtime.gpu.resampling` do, to the bit.
Pillow's bicubic is a product with a matrix of integers: in float64 every partial sum is
exact, whatever the order.
"""

from typing import Any, Final

import numpy as np

from lorair.kernels.spec import ONNX_OPSET
from lorair.runtime.gpu.resampling import PRECISION_BITS
from lorair.runtime.pixels import MEAN, STD

_IR_VERSION: Final = 10

# What `resampling.bicubic_table` computes, one dense row an output: the same operations in
# the same order, so that no coefficient differs. CumSum adds one after the other, as Pillow.
_BICUBIC: Final = f"""
<domain: "lorair.pictures", opset_import: ["" : {ONNX_OPSET}]>
bicubic (source, target) => (matrix)
{{
    zero = Constant <value = double {{0}}> ()
    half = Constant <value = double {{0.5}}> ()
    minus_half = Constant <value = double {{-0.5}}> ()
    one = Constant <value = double {{1}}> ()
    three_halves = Constant <value = double {{1.5}}> ()
    two = Constant <value = double {{2}}> ()
    five_halves = Constant <value = double {{2.5}}> ()
    four = Constant <value = double {{4}}> ()
    five = Constant <value = double {{5}}> ()
    eight = Constant <value = double {{8}}> ()
    unit = Constant <value = double {{{2.0**PRECISION_BITS}}}> ()
    begin = Constant <value = int64 {{0}}> ()
    step = Constant <value = int64 {{1}}> ()
    columns = Constant <value = int64[1] {{1}}> ()
    last = Constant <value = int64[1] {{-1}}> ()

    size = Cast <to = 11> (source)
    count = Cast <to = 11> (target)
    scale = Div (size, count)
    stretch = Max (scale, one)
    support = Mul (two, stretch)
    outputs = Range (begin, target, step)
    i = Cast <to = 11> (outputs)
    i_middle = Add (i, half)
    row = Mul (i_middle, scale)
    centres = Unsqueeze (row, columns)
    before = Sub (centres, support)
    rounded = Add (before, half)
    inside = Max (rounded, zero)
    first = Floor (inside)
    behind = Add (centres, support)
    behind_rounded = Add (behind, half)
    within = Min (behind_rounded, size)
    end = Floor (within)

    inputs = Range (begin, source, step)
    j = Cast <to = 11> (inputs)
    distance = Sub (j, centres)
    middle = Add (distance, half)
    shrink = Div (one, stretch)
    scaled = Mul (middle, shrink)
    x = Abs (scaled)

    near_1 = Mul (three_halves, x)
    near_2 = Sub (near_1, five_halves)
    near_3 = Mul (near_2, x)
    near_4 = Mul (near_3, x)
    near = Add (near_4, one)
    far_1 = Sub (x, five)
    far_2 = Mul (far_1, x)
    far_3 = Add (far_2, eight)
    far_4 = Mul (far_3, x)
    far_5 = Sub (far_4, four)
    far = Mul (far_5, minus_half)
    is_near = Less (x, one)
    is_far = Less (x, two)
    outer = Where (is_far, far, zero)
    cubic = Where (is_near, near, outer)

    from_first = GreaterOrEqual (j, first)
    to_end = Less (j, end)
    is_used = And (from_first, to_end)
    weights = Where (is_used, cubic, zero)
    sums = CumSum (weights, step)
    total = Gather <axis = 1> (sums, last)
    shares = Div (weights, total)

    is_negative = Less (shares, zero)
    away = Where (is_negative, minus_half, half)
    fixed = Mul (shares, unit)
    shifted = Add (away, fixed)
    integers = Cast <to = 6> (shifted)
    matrix = Cast <to = 11> (integers)
}}
"""

_PASS: Final = f"""
<domain: "lorair.pictures", opset_import: ["" : {ONNX_OPSET}]>
round_pass (sums) => (pixels)
{{
    black = Constant <value = double {{0}}> ()
    white = Constant <value = double {{255}}> ()
    half = Constant <value = double {{{2.0 ** (PRECISION_BITS - 1)}}}> ()
    unit = Constant <value = double {{{2.0**PRECISION_BITS}}}> ()
    shifted = Add (sums, half)
    shares = Div (shifted, unit)
    whole = Floor (shares)
    pixels = Clip (whole, black, white)
}}
"""

_RESIZE: Final = f"""
<domain: "lorair.pictures", opset_import: ["" : {ONNX_OPSET}, "lorair.pictures" : 1]>
resize (planes, height, width, side) => (resized)
{{
    across = lorair.pictures.bicubic (width, side)
    across_t = Transpose <perm = [1, 0]> (across)
    wide = MatMul (planes, across_t)
    narrow = lorair.pictures.round_pass (wide)
    down = lorair.pictures.bicubic (height, side)
    high = MatMul (down, narrow)
    resized = lorair.pictures.round_pass (high)
}}
"""


def prepare(side: int, stride: int) -> Any:
    """Return the graph before the networks.

    Args:
        side: of a view, S.
        stride: H' and W' are multiples of it.

    Returns:
        an onnx.ModelProto.
    """
    return _parse(
        f"""
prepare (uint8[height, width, 3] image)
    => (float[1, 5, 3, {side}, {side}] views, float[1, 3, H, W] planes, int64[2] size)
<
    int64 zero = {{0}}, int64 one = {{1}}, int64[1] first = {{0}},
    int64 side = {{{side}}}, int64 twice = {{{2 * side}}},
    int64[2] stride = {{{stride}, {stride}}}, int64[3] before = {{0, 0, 0}},
    int64[5] quartered = {{3, 2, {side}, 2, {side}}}, int64[4] stacked = {{4, 3, {side}, {side}}},
    float white = {{255}},
    float[3, 1, 1] mean = {{{_numbers(MEAN)}}}, float[3, 1, 1] std = {{{_numbers(STD)}}}
>
{{
    size = Shape <start = 0, end = 2> (image)
    height = Gather <axis = 0> (size, zero)
    width = Gather <axis = 0> (size, one)
    channels = Transpose <perm = [2, 0, 1]> (image)

    exact = Cast <to = 11> (channels)
    whole = lorair.pictures.resize (exact, height, width, side)
    double = lorair.pictures.resize (exact, height, width, twice)
    halves = Reshape (double, quartered)
    quarters = Transpose <perm = [1, 3, 0, 2, 4]> (halves)
    tiles = Reshape (quarters, stacked)
    whole_4d = Unsqueeze (whole, first)
    stack = Concat <axis = 0> (whole_4d, tiles)
    bytes = Cast <to = 1> (stack)
    shares = Div (bytes, white)
    centred = Sub (shares, mean)
    normalised = Div (centred, std)
    views = Unsqueeze (normalised, first)

    values = Cast <to = 1> (channels)
    scaled = Div (values, white)
    negative = Neg (size)
    missing = Mod (negative, stride)
    pads = Concat <axis = 0> (before, first, missing)
    padded = Pad (scaled, pads)
    planes = Unsqueeze (padded, first)
}}
""",
        _BICUBIC,
        _PASS,
        _RESIZE,
    )


def finish() -> Any:
    """Return the graph behind the networks, an onnx.ModelProto."""
    return _parse(
        """
finish (float[1, 3, H, W] planes, int64[2] size)
    => (uint8[height, width, 3] restored, bool[1] is_finite)
<
    int64[1] first = {0}, int64[2] origin = {0, 0}, int64[2] sides = {1, 2},
    int32 none = {0}, float black = {0}, float one = {1}, float white = {255}
>
{
    channels = Squeeze (planes, first)
    cropped = Slice (channels, origin, size, sides)
    pixels = Transpose <perm = [1, 2, 0]> (cropped)
    clamped = Clip (pixels, black, one)
    scaled = Mul (clamped, white)
    rounded = Round (scaled)
    restored = Cast <to = 2> (rounded)

    is_nan = IsNaN (planes)
    is_infinite = IsInf (planes)
    is_bad = Or (is_nan, is_infinite)
    bad = Cast <to = 6> (is_bad)
    most = ReduceMax <keepdims = 0> (bad)
    good = Equal (most, none)
    is_finite = Unsqueeze (good, first)
}
"""
    )


def _numbers(values: Any) -> str:
    """float32 values, written so that they are read back to the bit."""
    return ", ".join(np.format_float_positional(value, unique=True) for value in values)


def _parse(graph: str, *functions: str) -> Any:
    import onnx
    from onnx import parser

    domains = f'"" : {ONNX_OPSET}' + (', "lorair.pictures" : 1' if functions else "")
    header = f"<ir_version: {_IR_VERSION}, opset_import: [{domains}]>"
    model = parser.parse_model(f"{header}{graph}{''.join(functions)}")
    model.producer_name = "lorair"
    onnx.checker.check_model(model, full_check=True)
    return model
