"""Which compiled kernel, which grid and which numbers each launch of an operator takes.

Plain Python, importable everywhere: `triton/run.py` launches by it. `tensorrt/table.py` asks
it with symbols in the place of sizes, and so writes the same formulas down for C++: what
computes with sizes here takes `*`, `//`, `-`, `>=`, `&` and `|`, and branches on none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from lorair.kernels import spec
from lorair.kernels.spec import CONVOLUTIONS, FORMS, GATES
from lorair.kernels.tiles import ALIGNMENT, DEPTHWISE, MAX_PIXELS, NORM, ConvTile, conv_tiles
from lorair.runtime.errors import EngineError

DType = Literal["fp16", "bf16", "fp32"]
DTYPES: Final[tuple[DType, ...]] = ("fp16", "bf16", "fp32")

Shape = Sequence[int]
Grid = tuple[int, int, int]

HEURISTIC: Final = 0
"""The tactic that takes the first tiling that suits; tactic n is the n-th of `conv_tiles`."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch; its pointers, which are named as the kernel's arguments, are not in it.

    kernel: the name of a variant. grid: how many programs. numbers: the other arguments.
    """

    kernel: str
    grid: Grid
    numbers: dict[str, int | float]


@dataclass(frozen=True)
class Way:
    """One way to launch an operator in a type.

    tactic: that asks for it. aligned: whether its planes are multiples of `ALIGNMENT` pixels;
    None if the kernels take any. tile: of a 1x1 convolution. is_last: whether it is the one
    for shapes that no tiling suits.
    """

    tactic: int = 1
    aligned: bool | None = None
    tile: ConvTile | None = None
    is_last: bool = True


def ways(operator: str, dtype: DType) -> list[Way]:
    """Return all ways to launch an operator: most work first, of a tiling the aligned one."""
    if operator == spec.LORA_MOE_DEPTHWISE_GATE:
        return [Way()]
    if operator == spec.NORM_SCALE_ADD:
        return [Way(aligned=True), Way(aligned=False)]
    tiles = tilings(operator, dtype)
    return [
        Way(tactic, aligned, tile, is_last=tactic == len(tiles))
        for tactic, tile in enumerate(tiles, 1)
        for aligned in (True, False)
    ]


def suits(operator: str, way: Way, inputs: Sequence[Shape]) -> bool:
    """Return whether the heuristic takes a way, if it has not taken one before."""
    if way.tile is None or way.is_last:
        return True
    shapes = _named(operator, inputs)
    batch, _, height, width = shapes["x"]
    return way.tile.suits(_made(operator, shapes), height * width * batch)


def plan(
    operator: str, dtype: DType, way: Way, inputs: Sequence[Shape], scale: float
) -> list[Launch]:
    """Return the launches of one way, one after the other; arguments as for `launches`."""
    shapes = _named(operator, inputs)
    if operator == spec.LORA_MOE_DEPTHWISE_GATE:
        return _depthwise(dtype, shapes, scale)
    if operator == spec.NORM_SCALE_ADD:
        return [_norm(dtype, way, shapes["x"])]
    return [_conv(operator, dtype, way, shapes, scale)]


def launches(
    operator: str, dtype: DType, inputs: Sequence[Shape], scale: float, tactic: int = HEURISTIC
) -> list[Launch]:
    """Return an operator's launches, one after the other.

    dtype: the type of x. inputs: the shape of each input; gates (E), or (N, E) for each picture its
    own. scale: alpha / rank; NormScaleAdd has none. tactic: which tiling of a 1x1 convolution.
    Raises EngineError: planes are too large for the kernels.
    """
    pixels = prod(inputs[0][2:])
    if pixels >= MAX_PIXELS:
        raise EngineError(
            f"cannot launch {operator}",
            wanted=f"planes of less than {MAX_PIXELS} pixels",
            found=f"{pixels}",
            hint="restore the picture in tiles",
        )
    chosen = next(
        way
        for way in ways(operator, dtype)
        if way.aligned in (None, pixels % ALIGNMENT == 0)
        and (way.tactic == tactic or (tactic == HEURISTIC and suits(operator, way, inputs)))
    )
    return plan(operator, dtype, chosen, inputs, scale)


def workspace(operator: str, inputs: Sequence[Shape]) -> int:
    """Return the bytes of scratch memory that the argument `sums` needs."""
    return 4 * prod(_depthwise_grid(inputs[0])) if operator == spec.LORA_MOE_DEPTHWISE_GATE else 0


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
    return conv_tiles(4 if dtype == "fp32" else 2, **FORMS[operator].parts)


def _named(operator: str, inputs: Sequence[Shape]) -> dict[str, Shape]:
    return dict(zip(FORMS[operator].inputs, inputs, strict=True))


def _made(operator: str, shapes: Mapping[str, Shape]) -> int:
    """Channels of a convolution's result."""
    outputs = shapes["weight"][0]
    return outputs // 2 if FORMS[operator].gate else outputs


def _conv(
    operator: str, dtype: DType, way: Way, shapes: Mapping[str, Shape], scale: float
) -> Launch:
    batch, channels, height, width = shapes["x"]
    pixels = height * width
    numbers = {"channels": channels, "outputs": shapes["weight"][0], "pixels": pixels}
    assert way.tile is not None
    return Launch(
        conv_kernel(operator, dtype, way.tile, aligned=bool(way.aligned)),
        (way.tile.programs(_made(operator, shapes), pixels), batch, 1),
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


def _norm(dtype: DType, way: Way, x: Shape) -> Launch:
    batch, channels, height, width = x
    pixels = height * width
    return Launch(
        norm_kernel(dtype, aligned=bool(way.aligned)),
        (NORM.programs(pixels), batch, 1),
        {"channels": channels, "pixels": pixels},
    )


def _gates_stride(shapes: Mapping[str, Shape]) -> int:
    gates = shapes[GATES]
    return gates[1] if len(gates) == 2 else 0


def _rows(aligned: bool) -> str:
    return "aligned" if aligned else "any"
