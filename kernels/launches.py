"""Which compiled kernel, which grid and which numbers each launch of an operator takes.

Plain Python, importable everywhere: `triton/run.py` launches by it, and so does `tensorrt/`
on hosts that have neither Triton nor PyTorch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from lorair.kernels import spec
from lorair.kernels.spec import CONVOLUTIONS, FORMS, GATES
from lorair.kernels.tiles import (
    ALIGNMENT,
    DEPTHWISE,
    MAX_PIXELS,
    NORM,
    ConvTile,
    conv_tile,
    conv_tiles,
)
from lorair.runtime.errors import EngineError

DType = Literal["fp16", "bf16", "fp32"]
DTYPES: Final[tuple[DType, ...]] = ("fp16", "bf16", "fp32")

Shape = Sequence[int]
Grid = tuple[int, int, int]

HEURISTIC: Final = 0
"""The tactic that is `conv_tile`'s choice; tactic n is the n-th of `conv_tiles`."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch; its pointers, which are named as the kernel's arguments, are not in it.

    kernel: the name of a variant. grid: how many programs. numbers: the other arguments.
    """

    kernel: str
    grid: Grid
    numbers: dict[str, int | float]


def conv_kernel(operator: str, dtype: DType, tile: ConvTile, *, aligned: bool) -> str:
    """Return the variant's name; aligned: whether a plane is a multiple of `ALIGNMENT` pixels."""
    return f"{operator}.{dtype}.{tile.m}x{tile.n}x{tile.k}.{_rows(aligned)}"


def norm_kernel(dtype: DType, *, aligned: bool) -> str:
    """Return the name of NormScaleAdd's variant."""
    return f"{spec.NORM_SCALE_ADD}.{dtype}.{_rows(aligned)}"


def depthwise_kernels(dtype: DType) -> tuple[str, str]:
    """Return the names of the depthwise convolution's variant and of the mean's that follows."""
    operator = spec.LORA_MOE_DEPTHWISE_GATE
    return f"{operator}.{dtype}", f"{operator}.mean.{dtype}"


def tilings(operator: str, dtype: DType) -> tuple[ConvTile, ...]:
    """Return the tilings of a 1x1 convolution; other operators have none to choose from."""
    if operator not in CONVOLUTIONS:
        return ()
    return conv_tiles(_size(dtype), **FORMS[operator].parts)


def kernels_of(operator: str, dtype: DType) -> list[str]:
    """Return the names of all kernels that an operator's launches may need."""
    both = (True, False)
    if operator == spec.NORM_SCALE_ADD:
        return [norm_kernel(dtype, aligned=aligned) for aligned in both]
    if operator == spec.LORA_MOE_DEPTHWISE_GATE:
        return list(depthwise_kernels(dtype))
    tiles = tilings(operator, dtype)
    return [conv_kernel(operator, dtype, t, aligned=aligned) for t in tiles for aligned in both]


def launches(
    operator: str, dtype: DType, inputs: Sequence[Shape], scale: float, tactic: int = HEURISTIC
) -> list[Launch]:
    """Return an operator's launches, one after the other.

    dtype: the type of x. inputs: the shape of each input; gates (E), or (N, E) for each picture its
    own. scale: alpha / rank; NormScaleAdd has none. tactic: which tiling of a 1x1 convolution.
    Raises EngineError: planes are too large for the kernels.
    """
    shapes = dict(zip(FORMS[operator].inputs, inputs, strict=True))
    pixels = shapes["x"][2] * shapes["x"][3]
    if pixels >= MAX_PIXELS:
        raise EngineError(
            f"cannot launch {operator}",
            wanted=f"planes of less than {MAX_PIXELS} pixels",
            found=f"{pixels}",
            hint="restore the picture in tiles",
        )
    if operator == spec.NORM_SCALE_ADD:
        return [_norm(dtype, shapes["x"])]
    if operator == spec.LORA_MOE_DEPTHWISE_GATE:
        return _depthwise(dtype, shapes, scale)
    return [_conv(operator, dtype, shapes, scale, tactic)]


def workspace(operator: str, inputs: Sequence[Shape]) -> int:
    """Return the bytes of scratch memory that the argument `sums` needs."""
    return 4 * prod(_depthwise_grid(inputs[0])) if operator == spec.LORA_MOE_DEPTHWISE_GATE else 0


def _conv(
    operator: str, dtype: DType, shapes: Mapping[str, Shape], scale: float, tactic: int
) -> Launch:
    form, (batch, channels, height, width) = FORMS[operator], shapes["x"]
    outputs, pixels = shapes["weight"][0], height * width
    made = outputs // 2 if form.gate else outputs
    if tactic == HEURISTIC:
        tile = conv_tile(made, pixels * batch, _size(dtype), **form.parts)
    else:
        tile = tilings(operator, dtype)[tactic - 1]
    numbers = {"channels": channels, "outputs": outputs, "pixels": pixels}
    return Launch(
        conv_kernel(operator, dtype, tile, aligned=pixels % ALIGNMENT == 0),
        (tile.programs(made, pixels), batch, 1),
        {**numbers, "gates_stride": _gates_stride(shapes), "scale": scale},
    )


def _depthwise_grid(x: Shape) -> Grid:
    """Programs of the depthwise convolution, each of which writes one sum."""
    batch, channels, height, width = x
    return DEPTHWISE.programs(height, width), channels // 2, batch


def _depthwise(dtype: DType, shapes: Mapping[str, Shape], scale: float) -> list[Launch]:
    _, channels, height, width = shapes["x"]
    conv, mean = depthwise_kernels(dtype)
    tiles, half, batch = grid = _depthwise_grid(shapes["x"])
    numbers = {"channels": channels, "height": height, "width": width}
    return [
        Launch(conv, grid, {**numbers, "gates_stride": _gates_stride(shapes), "scale": scale}),
        Launch(mean, (batch * half, 1, 1), {"tiles": tiles, "pixels": height * width}),
    ]


def _norm(dtype: DType, x: Shape) -> Launch:
    batch, channels, height, width = x
    pixels = height * width
    return Launch(
        norm_kernel(dtype, aligned=pixels % ALIGNMENT == 0),
        (NORM.programs(pixels), batch, 1),
        {"channels": channels, "pixels": pixels},
    )


def _gates_stride(shapes: Mapping[str, Shape]) -> int:
    gates = shapes[GATES]
    return gates[1] if len(gates) == 2 else 0


def _size(dtype: DType) -> int:
    return 4 if dtype == "fp32" else 2


def _rows(aligned: bool) -> str:
    return "aligned" if aligned else "any"
