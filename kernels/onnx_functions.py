"""The operators' first home: function bodies in standard ONNX.

A runtime that knows no `lorair` operator inlines the body; one that has a fused kernel
of that name takes the kernel. Bodies are written in ONNX's text form.
"""

from typing import Any

from lorair.kernels.spec import (
    DOMAIN,
    LAYER_NORM_2D,
    LAYER_NORM_EPSILON,
    LORA_MOE_CONV,
    ONNX_OPSET,
)

_HEADER = f'<domain: "{DOMAIN}", opset_import: ["" : {ONNX_OPSET}]>'


def portable_bodies(*, float32: bool) -> list[Any]:
    """The operators' bodies that every ONNX runtime can execute, as `onnx.FunctionProto`.

    Args:
        float32: whether the graph's tensors are float32. If not, the experts are merged and
            the statistics taken in float32 and cast back. If so, the casts are left out:
            each would copy the merged weights at every run.
    """
    from onnx import parser

    return [parser.parse_function(body(float32)) for body in (_lora_moe_conv, _layer_norm_2d)]


def _lora_moe_conv(float32: bool) -> str:
    # Σ_e g_e B_e A_e as one matrix product: the experts concatenated along the rank, B's
    # columns scaled by their gates. Only the gates change between runs, so a runtime folds
    # everything that stands before the first Mul with them.
    f, to_float, back = _casts(float32, ["weight", "lora_A", "lora_B"], "merged")
    return f"""
{_HEADER}
{LORA_MOE_CONV} <strides, pads, group, scale> (X, weight, lora_A, lora_B, gates, bias) => (Y)
{{
    alpha = Constant <value_float: float = @scale> ()
    scaled_gates = Mul (gates, alpha)
    one_axis = Constant <value_ints = [1]> ()
    gates_column = Unsqueeze (scaled_gates, one_axis)
    {to_float}
    B_rows = Transpose <perm = [1, 0, 2]> (lora_B{f})
    B_gated = Mul (B_rows, gates_column)
    B = Flatten <axis = 1> (B_gated)
    A = Flatten <axis = 2> (lora_A{f})
    product = MatMul (B, A)
    weight_shape = Shape (weight)
    update = Reshape (product, weight_shape)
    merged{f} = Add (weight{f}, update)
    {back}
    Y = Conv <strides: ints = @strides, pads: ints = @pads, group: int = @group> (X, merged, bias)
}}
"""


def _layer_norm_2d(float32: bool) -> str:
    # The mean over the channels as a product with a row of 1/C: ONNX Runtime reduces over a
    # leading axis several times slower than it multiplies matrices.
    f, to_float, back = _casts(float32, ["x", "weight", "bias"], "Y")
    return f"""
{_HEADER}
{LAYER_NORM_2D} (X, weight, bias) => (Y)
{{
    channels = Shape (weight)
    ones = ConstantOfShape <value = float[1] {{1.0}}> (channels)
    count = Cast <to = 1> (channels)
    reciprocals = Div (ones, count)
    row = Constant <value_ints = [1, -1]> ()
    mean_row = Reshape (reciprocals, row)
    pixels = Constant <value_ints = [0, 0, -1]> ()
    x = Reshape (X, pixels)
    {to_float}
    mean = MatMul (mean_row, x{f})
    centred = Sub (x{f}, mean)
    squares = Mul (centred, centred)
    variance = MatMul (mean_row, squares)
    epsilon = Constant <value_float = {LAYER_NORM_EPSILON}> ()
    shifted = Add (variance, epsilon)
    deviation = Sqrt (shifted)
    normed = Div (centred, deviation)
    column = Constant <value_ints = [-1, 1]> ()
    weight_column = Reshape (weight{f}, column)
    bias_column = Reshape (bias{f}, column)
    stretched = Mul (normed, weight_column)
    affine = Add (stretched, bias_column)
    X_shape = Shape (X)
    Y{f} = Reshape (affine, X_shape)
    {back}
}}
"""


def _casts(float32: bool, inputs: list[str], result: str) -> tuple[str, str, str]:
    """A suffix for float32 names, and the lines that cast to float32 and back."""
    if float32:
        return "", "", ""
    to_float = "\n    ".join(f"{name}_float = Cast <to = 1> ({name})" for name in inputs)
    return "_float", to_float, f"{result} = CastLike ({result}_float, X)"
