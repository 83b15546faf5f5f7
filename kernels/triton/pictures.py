"""The two ends of the walk: a decoded picture to the networks' inputs, and back.

Each kernel equals its NumPy counterpart to the bit: the views are Pillow's, resized along
the width first, unpack and pack are `to_planes` and `from_planes` of `runtime.restorer`.
Pictures are (H, W, 3), a row being 3W values side by side; the networks want planes
(3, H, W).

Every kernel says its grid, quotients rounded up. Rows come first: a grid's first axis holds
2**31 programs, the others 65535.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lorair.kernels.tiles import FUSION
from lorair.runtime.gpu.resampling import PRECISION_BITS, bicubic_table

_BITS: tl.constexpr = tl.constexpr(PRECISION_BITS)
_HALF: tl.constexpr = tl.constexpr(1 << (PRECISION_BITS - 1))

_ROUND: tl.constexpr = tl.constexpr(1.5 * 2**23)
"""Floats around it are the integers: adding it rounds what is in [0, 65535], half to even."""

_PEAKS: Final = {torch.uint8: 255, torch.uint16: 65535}


@triton.jit
def _resize_rows_kernel(
    pixels,
    first,
    counts,
    coefficients,
    resized,
    taps,
    height,
    width,
    new_width,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid (height / ROWS, 3 * new_width / BLOCK)."""
    # Several rows a program: they share what is read from the table.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    column, channel = lane // 3, lane % 3
    inside = column < new_width
    start = tl.load(first + column, inside, 0)
    count = tl.load(counts + column, inside, 0)
    line = pixels + row.to(tl.int64) * width * 3
    total = tl.zeros((ROWS, BLOCK), tl.int32)
    for tap in range(taps):
        known = tap < count
        coefficient = tl.load(coefficients + tap * new_width + column, known, 0)
        place = (start + tap) * 3 + channel
        value = tl.load(line + place[None, :], (row < height) & known[None, :], 0)
        total += coefficient[None, :] * value.to(tl.int32)
    place = row.to(tl.int64) * new_width * 3 + lane[None, :]
    tl.store(resized + place, _to_8bit(total).to(tl.uint8), (row < height) & inside[None, :])


@triton.jit
def _resize_columns_kernel(
    resized,
    first,
    counts,
    coefficients,
    views,
    side,
    tiles,
    BLOCK: tl.constexpr,
):
    """Grid (tiles * side, 3 * tiles * side / BLOCK)."""
    # A value is read once for each tap and written once, so lanes follow the reads.
    row = tl.program_id(0)
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    column, channel = lane // 3, lane % 3
    width = tiles * side
    inside = column < width
    start = tl.load(first + row).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.int32)
    for tap in range(tl.load(counts + row)):
        coefficient = tl.load(coefficients + tap * width + row)
        value = tl.load(resized + (start + tap) * width * 3 + lane, inside, 0)
        total += coefficient * value.to(tl.int32)
    normed = _normalised(_to_8bit(total).to(tl.float32), channel)
    # The whole picture (one tile) is view 0, the four tiles are views 1 to 4.
    view = tiles - 1 + row // side * tiles + column // side
    place = ((view * 3 + channel) * side + row % side) * side + column % side
    tl.store(views + place, normed.to(views.dtype.element_ty), inside)


@triton.jit
def _to_8bit(total):
    """Rounded and clipped.

    int32 holds every sum: a table's positive coefficients add up to less than 1.3, and
    1.3 * 255 * 2**22 < 2**31.
    """
    return tl.minimum(tl.maximum((total + _HALF) >> _BITS, 0), 255)


@triton.jit
def _normalised(value, channel):
    """With CLIP's constants. A plain `/` would be approximate on a GPU."""
    mean = _of_channel(channel, 0.48145466, 0.4578275, 0.40821073)
    std = _of_channel(channel, 0.26862954, 0.26130258, 0.27577711)
    return tl.div_rn(tl.div_rn(value, 255.0) - mean, std)


@triton.jit
def _of_channel(channel, red, green, blue):
    return tl.where(channel == 0, red, tl.where(channel == 1, green, blue))


@triton.jit
def _unpack_kernel(
    pixels,
    planes,
    height,
    width,
    padded_height,
    padded_width,
    PEAK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid (padded_height, padded_width / BLOCK)."""
    # Lanes follow the stores; the three loads of neighbouring bytes meet in the cache.
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    pictured = column < tl.where(row < height, width, 0)
    for channel in tl.static_range(3):
        value = tl.load(pixels + (row * width + column) * 3 + channel, pictured, 0)
        scaled = tl.div_rn(value.to(tl.float32), PEAK * 1.0)
        place = (channel * padded_height + row) * padded_width + column
        tl.store(planes + place, scaled.to(planes.dtype.element_ty), column < padded_width)


@triton.jit
def _pack_kernel(
    planes,
    pixels,
    bad,
    width,
    padded_height,
    padded_width,
    PEAK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid (height, 3 * width / BLOCK)."""
    row = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    column, channel = lane // 3, lane % 3
    inside = column < width
    place = (channel * padded_height + row) * padded_width + column
    value = tl.load(planes + place, inside, 0.0).to(tl.float32)
    if bad is not None:  # noqa: SIM102
        # NaN is less than nothing. Whichever programs find one all write the same.
        # Not one condition: the first is the compiler's to decide.
        if tl.max((~(tl.abs(value) < float("inf"))).to(tl.int32), 0) > 0:
            tl.store(bad, 1)
    # Clamped after scaling, which is the same; in between, the clamp keeps the compiler
    # from fusing product and sum into one operation, which would round once instead of twice.
    scaled = tl.minimum(tl.maximum(value * PEAK, 0.0), PEAK * 1.0)
    # Without fast-math, which Triton does not use, (x + c) - c is not simplified.
    rounded = (scaled + _ROUND) - _ROUND
    tl.store(pixels + row * width * 3 + lane, rounded.to(pixels.dtype.element_ty), inside)


class _Shape(NamedTuple):
    constants: dict[str, int]
    num_warps: int


# Wide enough that each of 128 threads has a few independent loads in flight, narrow enough
# that a small picture still makes programs for every multiprocessor.
_RESIZE_ROWS: Final = _Shape({"ROWS": 4, "BLOCK": 128}, num_warps=4)
_RESIZE_COLUMNS: Final = _Shape({"BLOCK": 256}, num_warps=4)
_COPY: Final = _Shape({"BLOCK": 512}, num_warps=4)


def make_views(pixels: Tensor, side: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The router's five views of a picture.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        side: of a view in pixels.
        dtype: of the result: float32, float16 or bfloat16.

    Returns:
        (1, 5, 3, side, side), normalised.
    """
    pixels = pixels.contiguous()
    views = pixels.new_empty((1, 5, 3, side, side), dtype=dtype)
    for tiles in (1, 2):
        _resize_columns_into(views, _resize_rows(pixels, tiles * side), tiles)
    return views


def _resize_rows(pixels: Tensor, new_width: int) -> Tensor:
    """(H, W, 3) -> (H, new_width, 3), uint8."""
    height, width = pixels.shape[:2]
    resized = pixels.new_empty((height, new_width, 3))
    table = _table_on(pixels.device, width, new_width)
    constants, num_warps = _RESIZE_ROWS
    grid = (
        triton.cdiv(height, constants["ROWS"]),
        triton.cdiv(3 * new_width, constants["BLOCK"]),
    )
    _resize_rows_kernel[grid](
        pixels, *table, resized, len(table[-1]), height, width, new_width,
        **constants, num_warps=num_warps, **FUSION,
    )  # fmt: skip
    return resized


def _resize_columns_into(views: Tensor, resized: Tensor, tiles: int) -> None:
    """(H, tiles*side, 3) uint8 -> the tiles x tiles views of it, (1, 5, 3, side, side)."""
    side = views.shape[-1]
    table = _table_on(resized.device, len(resized), tiles * side)
    constants, num_warps = _RESIZE_COLUMNS
    grid = (tiles * side, triton.cdiv(3 * tiles * side, constants["BLOCK"]))
    _resize_columns_kernel[grid](
        resized, *table, views, side, tiles, **constants, num_warps=num_warps, **FUSION
    )


def _table_on(device: torch.device, source: int, target: int) -> list[Tensor]:
    return [torch.tensor(array, device=device) for array in bicubic_table(source, target)]


def unpack(pixels: Tensor, stride: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A picture as planes in [0, 1], zero-padded right and bottom to the stride.

    Args:
        pixels: (H, W, 3) uint8 or uint16.
        stride: H' and W' are H and W rounded up to multiples of it.
        dtype: of the result: float32, float16 or bfloat16.

    Returns:
        (1, 3, H', W').
    """
    height, width = pixels.shape[:2]
    padded = (height + -height % stride, width + -width % stride)
    planes = pixels.new_empty((1, 3, *padded), dtype=dtype)
    constants, num_warps = _COPY
    _unpack_kernel[padded[0], triton.cdiv(padded[1], constants["BLOCK"])](
        pixels.contiguous(), planes, height, width, *padded,
        PEAK=_PEAKS[pixels.dtype], **constants, num_warps=num_warps, **FUSION,
    )  # fmt: skip
    return planes


def pack(
    planes: Tensor, size: tuple[int, int], dtype: torch.dtype, bad: Tensor | None = None
) -> Tensor:
    """Planes as a picture: cropped, clamped to [0, 1], scaled, rounded half to even.

    Args:
        planes: (1, 3, H', W') float32, float16 or bfloat16. NaN becomes any value.
        size: (H, W), at most (H', W').
        dtype: of the result, uint8 or uint16.
        bad: (1) int32, becomes 1 if a value is NaN or infinite.

    Returns:
        (H, W, 3).
    """
    height, width = size
    pixels = planes.new_empty((height, width, 3), dtype=dtype)
    constants, num_warps = _COPY
    _pack_kernel[height, triton.cdiv(3 * width, constants["BLOCK"])](
        planes.contiguous(), pixels, bad, width, *planes.shape[2:],
        PEAK=_PEAKS[dtype], **constants, num_warps=num_warps, **FUSION,
    )  # fmt: skip
    return pixels


class Variant(NamedTuple):
    """One kernel to be compiled ahead of time.

    name: of its own among all.
    kernel: the `@triton.jit` function.
    signature: Triton's type of each run-time argument, in order.
    constants: the values of the others.
    num_warps: of a program.
    """

    name: str
    kernel: Any
    signature: dict[str, str]
    constants: dict[str, int]
    num_warps: int


def _variants() -> Iterator[Variant]:
    table = dict.fromkeys(("first", "counts", "coefficients"), "*i32")
    signature = {"pixels": "*u8", **table, "resized": "*u8"}
    signature |= _ints("taps", "height", "width", "new_width")
    yield Variant("resize_rows", _resize_rows_kernel, signature, *_RESIZE_ROWS)
    for plane in ("fp32", "fp16", "bf16"):
        signature = {"resized": "*u8", **table, "views": f"*{plane}", **_ints("side", "tiles")}
        name = f"resize_columns_{plane}"
        yield Variant(name, _resize_columns_kernel, signature, *_RESIZE_COLUMNS)
        for pixel, peak in (("u8", 255), ("u16", 65535)):
            constants = {"PEAK": peak, **_COPY.constants}
            signature = {"pixels": f"*{pixel}", "planes": f"*{plane}"}
            signature |= _ints("height", "width", "padded_height", "padded_width")
            name = f"unpack_{pixel}_{plane}"
            yield Variant(name, _unpack_kernel, signature, constants, _COPY.num_warps)
            signature = {"planes": f"*{plane}", "pixels": f"*{pixel}", "bad": "*i32"}
            signature |= _ints("width", "padded_height", "padded_width")
            name = f"pack_{pixel}_{plane}"
            yield Variant(name, _pack_kernel, signature, constants, _COPY.num_warps)


def _ints(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "i32")


PICTURE_VARIANTS: Final = tuple(_variants())
"""Every kernel above, for every type of picture and planes."""
