"""The 1x1 convolutions with experts: one kernel, four optional parts; and NormScaleAdd.

A picture (C, H, W) is a matrix (C, pixels), so a 1x1 convolution is a matrix product. A
program makes a tile of the result. Each step of its loop over the input channels loads a
tile of the weights, adds the gated experts' products to it in registers, and multiplies
it with a tile of the picture: merged weights are never written to memory.

LayerNorm needs no pass of its own. The loop gathers each pixel's mean and squared
deviations as it goes, and since the convolution is linear the rest is done at the end:
`rstd * (W x - mean * rowsum W) + bias`. Two things keep that exact on hostile input:

- Deviations are taken block by block and joined by Chan's formula (Chan, Golub, LeVeque
  1979), so a mean far greater than the deviation costs no digits.
- What is multiplied is not x but `(x - pivot) / 2`, pivot being the mean of the pixel's
  first block of channels: else `W x` and `mean * rowsum W` would be large numbers that
  nearly cancel. The half keeps the difference of two fp16 numbers within fp16.

Formulas and shapes of the operators are in `spec.py`.
"""

import os

import triton
import triton.language as tl

from lorair.kernels.spec import NORM_EPSILON

_EPSILON: tl.constexpr = tl.constexpr(NORM_EPSILON)

_INTERPRETED: tl.constexpr = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def _dot(a, b, sum):
    """`sum + a @ b` in float32; float32 operands are not rounded to TF32."""
    # The interpreter takes bfloat16 operands for integers; in float32 the products are the same.
    if _INTERPRETED and a.dtype == tl.bfloat16:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, sum, input_precision="ieee")


@triton.jit
def _merged_tile(
    weight,
    lora_A,
    lora_B,
    gates,
    scale,
    rows,
    columns,
    inside,
    outputs,
    channels,
    EXPERTS: tl.constexpr,
    RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
):
    """Rows and columns of W(gates), float32; experts with gate 0 are not even loaded."""
    merged = tl.load(weight + (rows[:, None] * channels + columns[None, :]), inside, 0.0)
    merged = merged.to(tl.float32)
    ranks = tl.arange(0, RANK_BLOCK)
    for expert in tl.static_range(EXPERTS):
        gate = tl.load(gates + expert)
        if gate != 0:
            B = tl.load(
                lora_B + expert * outputs * RANK + (rows[:, None] * RANK + ranks[None, :]),
                (rows < outputs)[:, None] & (ranks < RANK)[None, :],
                0.0,
            )
            A = tl.load(
                lora_A + expert * RANK * channels + (ranks[:, None] * channels + columns[None, :]),
                (ranks < RANK)[:, None] & (columns < channels)[None, :],
                0.0,
            )
            merged += (gate * scale) * _dot(B, A, tl.zeros(merged.shape, tl.float32))
    return merged


@triton.jit
def _shift(bias, lora_bias, gates, rows, inside, outputs, EXPERTS: tl.constexpr):
    """Rows of bias + gates @ lora_bias, float32; either may be None."""
    shift = tl.zeros(rows.shape, tl.float32)
    if bias is not None:
        shift += tl.load(bias + rows, inside, 0.0).to(tl.float32)
    if lora_bias is not None:
        for expert in tl.static_range(EXPERTS):
            gate = tl.load(gates + expert)
            if gate != 0:
                added = tl.load(lora_bias + expert * outputs + rows, inside, 0.0)
                shift += gate * added.to(tl.float32)
    return shift


@triton.jit
def _join_block(mean, squares, count, block, inside, size):
    """Chan's formula: statistics of `count` channels joined with those of a block of `size`."""
    block_mean = tl.sum(block, 0) / size
    deviations = tl.where(inside[:, None], block - block_mean[None, :], 0.0)
    block_squares = tl.sum(deviations * deviations, 0)
    delta = block_mean - mean
    total = count + size
    mean += delta * (size / total)
    squares += block_squares + delta * delta * (count * size / total)
    return mean, squares


@triton.jit
def _lora_moe_conv1x1_kernel(
    x,
    weight,
    lora_A,
    lora_B,
    gates,
    bias,
    lora_bias,
    channel_scale,
    residual,
    y,
    channels,
    outputs,
    pixels,
    gates_stride,
    scale,
    NORM: tl.constexpr,
    GATE: tl.constexpr,
    EXPERTS: tl.constexpr,
    RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    # Programs of the same pixels are neighbours: they find the picture's tile in the cache.
    made = outputs // 2 if GATE else outputs
    tiles = tl.cdiv(made, BLOCK_M)
    picture = tl.program_id(1).to(tl.int64)
    top = tl.program_id(0) % tiles * BLOCK_M
    rows = top + tl.arange(0, BLOCK_M)
    pixel = tl.program_id(0) // tiles * BLOCK_N + tl.arange(0, BLOCK_N)
    seen = pixel < pixels
    # Planes are far apart, 64 bits; within a tile 32 do, and save registers.
    x += picture * channels * pixels
    block = tl.arange(0, BLOCK_K)[:, None] * pixels + pixel[None, :]
    # Not pixels.to(int64): an argument of 1 is a constant to Triton, which has no type.
    step = tl.full((), BLOCK_K, tl.int64) * pixels
    gates += picture * gates_stride
    first = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    second = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    first_sum = tl.zeros((BLOCK_M,), tl.float32)
    second_sum = tl.zeros((BLOCK_M,), tl.float32)
    pivot = tl.zeros((BLOCK_N,), tl.float32)
    mean = tl.zeros((BLOCK_N,), tl.float32)
    squares = tl.zeros((BLOCK_N,), tl.float32)
    for start in range(0, channels, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        known = columns < channels
        tile = tl.load(x + block, known[:, None] & seen[None, :], 0.0)
        x += step
        if NORM:
            values = tile.to(tl.float32)
            size = tl.minimum(channels - start, BLOCK_K).to(tl.float32)
            # Rounded to the pictures' type, in which a constant picture's mean is exact.
            block_mean = (tl.sum(values, 0) / size).to(tile.dtype).to(tl.float32)
            pivot = tl.where(start == 0, block_mean, pivot)
            values = tl.where(known[:, None], values - pivot[None, :], 0.0)
            mean, squares = _join_block(mean, squares, start * 1.0, values, known, size)
            tile = (0.5 * values).to(tile.dtype)
        merged = _merged_tile(
            weight, lora_A, lora_B, gates, scale, rows, columns,
            (rows < made)[:, None] & known[None, :], outputs, channels,
            EXPERTS, RANK, RANK_BLOCK,
        )  # fmt: skip
        if channel_scale is not None:
            factors = tl.load(channel_scale + picture * channels + columns, known, 0.0)
            merged *= factors.to(tl.float32)[None, :]
        kernel = merged.to(tile.dtype)
        first = _dot(kernel, tile, first)
        if NORM:
            first_sum += tl.sum(kernel.to(tl.float32), 1)
        if GATE:
            merged = _merged_tile(
                weight, lora_A, lora_B, gates, scale, made + rows, columns,
                (rows < made)[:, None] & known[None, :], outputs, channels,
                EXPERTS, RANK, RANK_BLOCK,
            )  # fmt: skip
            kernel = merged.to(tile.dtype)
            second = _dot(kernel, tile, second)
            if NORM:
                second_sum += tl.sum(kernel.to(tl.float32), 1)
    if NORM:
        rstd = 1 / tl.sqrt_rn(squares / channels + _EPSILON)
        first = (2 * first - first_sum[:, None] * mean[None, :]) * rstd[None, :]
        second = (2 * second - second_sum[:, None] * mean[None, :]) * rstd[None, :]
    first += _shift(bias, lora_bias, gates, rows, rows < made, outputs, EXPERTS)[:, None]
    if GATE:
        shift = _shift(bias, lora_bias, gates, made + rows, rows < made, outputs, EXPERTS)
        first *= second + shift[:, None]
    places = tl.arange(0, BLOCK_M)[:, None] * pixels + pixel[None, :]
    corner = (picture * made + top) * pixels
    inside = (rows < made)[:, None] & seen[None, :]
    if residual is not None:
        first += tl.load(residual + corner + places, inside, 0.0).to(tl.float32)
    tl.store(y + corner + places, first.to(y.dtype.element_ty), inside)


@triton.jit
def _norm_scale_add_kernel(
    x,
    channel_scale,
    channel_shift,
    y,
    channels,
    pixels,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    picture = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    seen = pixel < pixels
    corner = picture * channels * pixels
    block = tl.arange(0, BLOCK_K)[:, None] * pixels + pixel[None, :]
    step = tl.full((), BLOCK_K, tl.int64) * pixels
    mean = tl.zeros((BLOCK_N,), tl.float32)
    squares = tl.zeros((BLOCK_N,), tl.float32)
    for start in range(0, channels, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        known = columns < channels
        inside = known[:, None] & seen[None, :]
        values = tl.load(x + corner + start // BLOCK_K * step + block, inside, 0.0).to(tl.float32)
        size = tl.minimum(channels - start, BLOCK_K).to(tl.float32)
        mean, squares = _join_block(mean, squares, start * 1.0, values, known, size)
    rstd = 1 / tl.sqrt_rn(squares / channels + _EPSILON)
    # The second look at the tile finds it in the cache.
    for start in range(0, channels, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        known = columns < channels
        inside = known[:, None] & seen[None, :]
        here = corner + start // BLOCK_K * step + block
        values = tl.load(x + here, inside, 0.0).to(tl.float32)
        factors = tl.load(channel_scale + picture * channels + columns, known, 0.0)
        shifts = tl.load(channel_shift + picture * channels + columns, known, 0.0)
        normed = (values - mean[None, :]) * rstd[None, :]
        stretched = normed * factors.to(tl.float32)[:, None] + shifts.to(tl.float32)[:, None]
        tl.store(y + here, (values + stretched).to(y.dtype.element_ty), inside)
