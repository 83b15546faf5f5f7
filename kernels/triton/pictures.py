"""From a decoded picture to the networks' inputs, and from planes back to a picture.

Each kernel equals its NumPy counterpart to the bit: the views are Pillow's, resized along
the width first, unpack and pack are `to_planes` and `from_planes` of `runtime.restorer`.
Pictures are (H, W, 3), a row being 3W values side by side; the networks want planes
(3, H, W).

Every kernel says its grid, quotients rounded up; `runtime/gpu/kernels.py` launches them so.
Rows come first: a grid's first axis holds 2**31 programs, the others 65535.
"""

from typing import Final, NamedTuple

import triton
import triton.language as tl

from lorair.runtime.gpu.resampling import PRECISION_BITS

_BITS: tl.constexpr = tl.constexpr(PRECISION_BITS)
_HALF: tl.constexpr = tl.constexpr(1 << (PRECISION_BITS - 1))

_ROUND: tl.constexpr = tl.constexpr(1.5 * 2**23)
"""Floats around it are the integers: adding it rounds what is in [0, 65535], half to even."""


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
    resized, first, counts, coefficients, views, side, tiles, BLOCK: tl.constexpr
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
    planes, pixels, bad, width, padded_height, padded_width, PEAK: tl.constexpr, BLOCK: tl.constexpr
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


class Blocks(NamedTuple):
    """The constants of a kernel, and the warps that share a program's work."""

    constants: dict[str, int]
    num_warps: int


# Wide enough that each of 128 threads has a few independent loads in flight, narrow enough
# that a small picture still makes programs for every multiprocessor.
RESIZE_ROWS: Final = Blocks({"ROWS": 4, "BLOCK": 128}, num_warps=4)
RESIZE_COLUMNS: Final = Blocks({"BLOCK": 256}, num_warps=4)
COPY: Final = Blocks({"BLOCK": 512}, num_warps=4)
