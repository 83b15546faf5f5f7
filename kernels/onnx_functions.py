"""The operators' first home: function bodies in standard ONNX.

A runtime that knows no `lorair` operator inlines the body; one that has a fused kernel
of that name takes the kernel. Bodies are written in ONNX's text form.
"""

from typing import Any

from lorair.kernels.spec import DOMAIN, LAYER_NORM_2D, LAYER_NORM_EPSILON, LORA_MOE_CONV, ONNX_OPSET

_HEADER = f'<domain: "{DOMAIN}", opset_import: ["" : {ONNX_OPSET}]>'

# Σ_e g_e B_e A_e as one matrix product: the experts concatenated along the rank, B's
# columns scaled by their gates. Only the gates change between runs, so a runtime folds
# everything that stands before the first Mul.
_LORA_MOE_CONV = f"""
{_HEADER}
{LORA_MOE_CONV} <strides, pads, group, scale> (X, weight, lora_A, lora_B, gates, bias) => (Y)
{{
    alpha = Constant <value_float: float = @scale> ()
    scaled_gates = Mul (gates, alpha)
    one_axis = Constant <value_ints = [1]> ()
    gates_column = Unsqueeze (scaled_gates, one_axis)
    B_float = Cast <to = 1> (lora_B)
    B_rows = Transpose <perm = [1, 0, 2]> (B_float)
    B_gated = Mul (B_rows, gates_column)
    rows_by_rest = Constant <value_ints = [0, -1]> ()
    B = Reshape (B_gated, rows_by_rest)
    A_float = Cast <to = 1> (lora_A)
    A_shape = Shape (lora_A)
    last = Constant <value_ints = [2]> ()
    columns = Gather <axis = 0> (A_shape, last)
    rest = Constant <value_ints = [-1]> ()
    rest_by_columns = Concat <axis = 0> (rest, columns)
    A = Reshape (A_float, rest_by_columns)
    product = MatMul (B, A)
    weight_shape = Shape (weight)
    update = Reshape (product, weight_shape)
    weight_float = Cast <to = 1> (weight)
    merged_float = Add (weight_float, update)
    merged = CastLike (merged_float, X)
    Y = Conv <strides = @strides, pads = @pads, group = @group> (X, merged, bias)
}}
"""

# The mean over the channels as a product with a row of 1/C: ONNX Runtime reduces over a
# leading axis several times slower than it multiplies matrices.
_LAYER_NORM_2D = f"""
{_HEADER}
{LAYER_NORM_2D} (X, weight, bias) => (Y)
{{
    channels = Shape (weight)
    one_row = Constant <value_ints = [1]> ()
    row_shape = Concat <axis = 0> (one_row, channels)
    one = Constant <value_float = 1.0> ()
    ones = Expand (one, row_shape)
    count = Cast <to = 1> (channels)
    mean_row = Div (ones, count)
    pixels_shape = Constant <value_ints = [0, 0, -1]> ()
    X_float = Cast <to = 1> (X)
    x = Reshape (X_float, pixels_shape)
    mean = MatMul (mean_row, x)
    centred = Sub (x, mean)
    squares = Mul (centred, centred)
    variance = MatMul (mean_row, squares)
    epsilon = Constant <value_float = {LAYER_NORM_EPSILON}> ()
    shifted = Add (variance, epsilon)
    deviation = Sqrt (shifted)
    normed = Div (centred, deviation)
    column_shape = Constant <value_ints = [-1, 1]> ()
    weight_float = Cast <to = 1> (weight)
    bias_float = Cast <to = 1> (bias)
    weight_column = Reshape (weight_float, column_shape)
    bias_column = Reshape (bias_float, column_shape)
    stretched = Mul (normed, weight_column)
    affine = Add (stretched, bias_column)
    X_shape = Shape (X)
    image = Reshape (affine, X_shape)
    Y = CastLike (image, X)
}}
"""


def portable_bodies() -> list[Any]:
    """The operators' bodies that every ONNX runtime can execute, as `onnx.FunctionProto`."""
    from onnx import parser

    return [parser.parse_function(text) for text in (_LORA_MOE_CONV, _LAYER_NORM_2D)]
