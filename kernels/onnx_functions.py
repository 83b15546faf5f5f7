"""The operators as function bodies in standard ONNX, one set for each target.

A runtime that knows no `lorair` operator inlines the body; one that has a fused kernel
of that name takes the kernel. Bodies are written in ONNX's text form, from a few
fragments: merge the experts, normalise, convolve.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from lorair.kernels import spec

Target = Literal["cpu", "reduce"]

TARGETS: Final[tuple[Target, ...]] = ("cpu", "reduce")
"""What a set of bodies is for.

cpu: for ONNX Runtime's CPU kernels, and portable: statistics as matrix products.
reduce: for compilers with good reductions of their own (OpenVINO, TensorRT).
"""


def bodies(target: Target, *, float32: bool) -> list[Any]:
    """Return every operator's body, as `onnx.FunctionProto`; all are standard ONNX.

    Args:
        target: one of `TARGETS`.
        float32: whether the graph's tensors are float32. If not, the experts are merged and
            the statistics taken in float32 and cast back. If so, the casts are left out:
            each would copy the merged weights at every run.
    """
    from onnx import parser

    return [parser.parse_function(text) for text in _Writer(target, float32).all()]


@dataclass(frozen=True)
class _Writer:
    """Writes bodies in ONNX's text form."""

    target: Target
    float32: bool

    def all(self) -> list[str]:
        merge, norm = self._merge(), self._norm()
        convolved, add = "convolved = Conv (X, kernel, bias)", "Y = Add (convolved, residual)"
        scaled = "scaled = Mul (X, channel_scale)", "convolved = Conv (scaled, kernel, bias)"
        normed = merge, self._shift(), norm
        parts: dict[str, tuple[str, ...]] = {
            spec.LORA_MOE_CONV: (merge, _ANY_CONV),
            spec.NORM_LORA_MOE_CONV: (*normed, "Y = Conv (normed, kernel, shift)"),
            spec.NORM_LORA_MOE_CONV_GATE: (*normed, self._gated_conv()),
            spec.LORA_MOE_DEPTHWISE_GATE: (merge, self._depthwise()),
            spec.LORA_MOE_CONV_ADD: (merge, convolved, add),
            spec.SCALE_LORA_MOE_CONV_ADD: (merge, *scaled, add),
            spec.NORM_SCALE_ADD: (norm, _SCALE_AND_ADD),
        }
        return [_function(name, lines) for name, lines in parts.items()]

    def _merge(self) -> str:
        """`kernel`: W(gates), in X's type."""
        # Σ_e g_e B_e A_e as one matrix product: the experts concatenated along the rank, B's
        # columns scaled by their gates. Only the gates change between runs, so a runtime
        # folds everything that stands before the first Mul with them.
        f, to_float = self._as_float("weight", "lora_A", "lora_B")
        return f"""
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
    {self._from_float("kernel", f"Add (weight{f}, update)")}"""

    def _shift(self) -> str:
        """`shift`: bias + gates @ lora_bias, in X's type."""
        f, to_float = self._as_float("bias", "lora_bias")
        return f"""
    {to_float}
    gated_bias = MatMul (gates, lora_bias{f})
    {self._from_float("shift", f"Add (bias{f}, gated_bias)")}"""

    def _norm(self) -> str:
        """`normed`: norm(X), in X's type."""
        return self._norm_by_products() if self.target == "cpu" else self._norm_by_reductions()

    def _norm_by_products(self) -> str:
        # The mean over the channels as a product with a row of 1/C: ONNX Runtime reduces over
        # a leading axis several times slower than it multiplies matrices.
        f, to_float = self._as_float("x")
        return f"""
    X_shape = Shape (X)
    channels = Shape <start = 1, end = 2> (X)
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
    {_DEVIATION}
    rate = Reciprocal (deviation)
    flat = Mul (centred, rate)
    {self._from_float("normed", "Reshape (flat, X_shape)")}"""

    def _norm_by_reductions(self) -> str:
        f, to_float = self._as_float("X")
        return f"""
    axes = Constant <value_ints = [1]> ()
    {to_float}
    mean = ReduceMean (X{f}, axes)
    centred = Sub (X{f}, mean)
    squares = Mul (centred, centred)
    variance = ReduceMean (squares, axes)
    {_DEVIATION}
    {self._from_float("normed", "Div (centred, deviation)")}"""

    def _gated_conv(self) -> str:
        """`Y`: gate(conv(normed))."""
        if self.target == "cpu":
            # Two convolutions: halving a kernel is cheaper than copying both halves of a
            # picture.
            return """
    first_kernel, second_kernel = Split <axis = 0, num_outputs = 2> (kernel)
    first_shift, second_shift = Split <axis = 0, num_outputs = 2> (shift)
    first = Conv (normed, first_kernel, first_shift)
    second = Conv (normed, second_kernel, second_shift)
    Y = Mul (first, second)"""
        return """
    convolved = Conv (normed, kernel, shift)
    first, second = Split <axis = 1, num_outputs = 2> (convolved)
    Y = Mul (first, second)"""

    def _depthwise(self) -> str:
        f, to_float = self._as_float("Y")
        return f"""
    convolved = Conv <pads = [1, 1, 1, 1], group: int = @group> (X, kernel, bias)
    first, second = Split <axis = 1, num_outputs = 2> (convolved)
    Y = Mul (first, second)
    {to_float}
    plane = Constant <value_ints = [2, 3]> ()
    {self._from_float("mean", f"ReduceMean (Y{f}, plane)")}"""

    def _as_float(self, *names: str) -> tuple[str, str]:
        """The suffix of float32 names, and the lines that make them."""
        if self.float32:
            return "", ""
        return "_float", "\n    ".join(f"{n}_float = Cast <to = 1> ({n})" for n in names)

    def _from_float(self, name: str, expression: str) -> str:
        """`name = expression`, cast to X's type where that is not float32."""
        if self.float32:
            return f"{name} = {expression}"
        return f"{name}_float = {expression}\n    {name} = CastLike ({name}_float, X)"


def _function(name: str, parts: tuple[str, ...]) -> str:
    """The whole text of an operator's body, whose inputs and outputs are those of its form."""
    # spec.LORA_MOE_CONV's form is that of its 1x1 kernel, which takes no bias.
    inputs = [*spec.FORMS[name].inputs, *(["bias"] if name == spec.LORA_MOE_CONV else [])]
    takes, makes = (
        ", ".join(_NAMES.get(one, one) for one in names)
        for names in (inputs, spec.FORMS[name].outputs)
    )
    attributes = _ATTRIBUTES.get(name, "scale")
    header = f'<domain: "{spec.DOMAIN}", opset_import: ["" : {spec.ONNX_OPSET}]>'
    bracketed = f"<{attributes}>" if attributes else ""
    lines = "\n".join(parts)
    return f"{header}\n{name} {bracketed} ({takes}) => ({makes})\n{{\n{lines}\n}}\n"


_NAMES = {"x": "X", "y": "Y"}
_ATTRIBUTES = {
    spec.LORA_MOE_CONV: "strides, pads, group, scale",
    spec.LORA_MOE_DEPTHWISE_GATE: "group, scale",
    spec.NORM_SCALE_ADD: "",
}
"""Of the operators that have others than the scale alone."""

_ANY_CONV = """
    Y = Conv <strides: ints = @strides, pads: ints = @pads, group: int = @group> (X, kernel, bias)
"""
_SCALE_AND_ADD = """
    stretched = Mul (normed, channel_scale)
    shifted = Add (stretched, channel_shift)
    Y = Add (X, shifted)
"""
_DEVIATION = f"""epsilon = Constant <value = float {{{spec.NORM_EPSILON}}}> ()
    above_zero = Add (variance, epsilon)
    deviation = Sqrt (above_zero)"""
