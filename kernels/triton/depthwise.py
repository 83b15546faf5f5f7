"""The depthwise 3x3 convolution with experts, SimpleGate and the pooled mean behind it.

A program makes a tile of one channel of the result, from a pair of channels. It merges
the eighteen weights of the pair itself. The mean is taken in two steps, a sum a tile and
then their sum in a fixed order, so that it is the same at every run.

Formulas and shapes are in `spec.py`.
"""

import triton
import triton.language as tl


@triton.jit
def _taps(
    weight,
    lora_A,
    lora_B,
    gates,
    scale,
    channel,
    channels,
    EXPERTS: tl.constexpr,
    RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    type: tl.constexpr,
):
    """The nine merged weights of one channel, rounded to the pictures' type, as float32 (16)."""
    tap = tl.arange(0, 16)
    used = tap < 9
    flat = channel * 9 + tap
    merged = tl.load(weight + flat, used, 0.0).to(tl.float32)
    # (3, 3 channels) is how the product of B and A lies in memory; it is read as (channels, 9).
    row, column = flat // (3 * channels), flat % (3 * channels)
    ranks = tl.arange(0, RANK_BLOCK)
    inside = used[:, None] & (ranks < RANK)[None, :]
    for expert in range(EXPERTS):
        gate = tl.load(gates + expert)
        if gate != 0:
            B_places = (expert * 3 + row[:, None]) * RANK + ranks[None, :]
            A_places = (expert * RANK + ranks[None, :]) * (3 * channels) + column[:, None]
            B = tl.load(lora_B + B_places, inside, 0.0).to(tl.float32)
            A = tl.load(lora_A + A_places, inside, 0.0).to(tl.float32)
            merged += (gate * scale) * tl.sum(B * A, 1)
    return merged.to(type).to(tl.float32)


@triton.jit
def _depthwise_gate_kernel(
    x,
    weight,
    lora_A,
    lora_B,
    gates,
    bias,
    y,
    sums,
    channels,
    height,
    width,
    gates_stride,
    scale,
    EXPERTS: tl.constexpr,
    RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    picture, channel = tl.program_id(2).to(tl.int64), tl.program_id(1)
    half = channels // 2
    across = tl.cdiv(width, BLOCK_W)
    row = tl.program_id(0) // across * BLOCK_H + tl.arange(0, BLOCK_H)
    column = tl.program_id(0) % across * BLOCK_W + tl.arange(0, BLOCK_W)
    gates += picture * gates_stride
    type: tl.constexpr = y.dtype.element_ty
    taps = _taps(
        weight, lora_A, lora_B, gates, scale, channel, channels, EXPERTS, RANK, RANK_BLOCK, type
    )
    gating = _taps(
        weight, lora_A, lora_B, gates, scale, channel + half, channels, EXPERTS, RANK, RANK_BLOCK,
        type,
    )  # fmt: skip
    numbers = tl.arange(0, 16)
    plane = (picture * channels + channel) * height * width
    other = plane + tl.full((), 1, tl.int64) * half * height * width
    first = tl.zeros((BLOCK_H, BLOCK_W), tl.float32)
    second = tl.zeros((BLOCK_H, BLOCK_W), tl.float32)
    for tap in tl.static_range(9):
        v, u = row + (tap // 3 - 1), column + (tap % 3 - 1)
        inside = ((v >= 0) & (v < height))[:, None] & ((u >= 0) & (u < width))[None, :]
        places = v[:, None] * width + u[None, :]
        here = tl.load(x + plane + places, inside, 0.0).to(tl.float32)
        there = tl.load(x + other + places, inside, 0.0).to(tl.float32)
        first += here * tl.sum(tl.where(numbers == tap, taps, 0.0))
        second += there * tl.sum(tl.where(numbers == tap, gating, 0.0))
    first += tl.load(bias + channel).to(tl.float32)
    second += tl.load(bias + channel + half).to(tl.float32)
    made = (first * second).to(type)
    inside = (row < height)[:, None] & (column < width)[None, :]
    out = (picture * half + channel) * height * width
    tl.store(y + out + row[:, None] * width + column[None, :], made, inside)
    total = tl.sum(tl.where(inside, made.to(tl.float32), 0.0))
    tl.store(sums + (picture * half + channel) * tl.num_programs(0) + tl.program_id(0), total)


@triton.jit
def _mean_kernel(sums, mean, tiles, pixels, BLOCK: tl.constexpr):
    plane = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, tiles, BLOCK):
        tile = start + tl.arange(0, BLOCK)
        total += tl.load(sums + plane * tiles + tile, tile < tiles, 0.0)
    tl.store(mean + plane, (tl.sum(total) / pixels).to(mean.dtype.element_ty))
