"""Merging the experts of many 1x1 convolutions for one route, in one launch.

The fused operators merge as they multiply, at every picture. Where a route stays, or where
a convolution sees a single pixel and its weights are all that it reads, it may be faster to
merge once and keep the weights. Which, a GPU has to say: `lorair-bench kernels` times both.

The convolutions' parameters lie one after the other, each kind in one array. A program
merges a tile of one convolution, which it finds in a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from lorair.kernels.triton.conv import _merged_tile

_ROWS: Final = 64
_COLUMNS: Final = 64
"""Of a tile: at 64 channels a convolution on a single pixel is one."""


@triton.jit
def _merge_kernel(
    weights,
    lora_A,
    lora_B,
    gates,
    tiles,
    merged,
    scale,
    EXPERTS: tl.constexpr,
    RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid (tiles). A row of `tiles` says where the convolution lies, its sides, and the tile."""
    row = tiles + tl.program_id(0) * 7
    place = tl.load(row)
    outputs, channels = tl.load(row + 3), tl.load(row + 4)
    rows = tl.load(row + 5) + tl.arange(0, BLOCK_M)
    columns = tl.load(row + 6) + tl.arange(0, BLOCK_K)
    inside = (rows < outputs)[:, None] & (columns < channels)[None, :]
    tile = _merged_tile(
        weights + place, lora_A + tl.load(row + 1), lora_B + tl.load(row + 2), gates, scale,
        rows, columns, inside, outputs, channels, EXPERTS, RANK, RANK_BLOCK,
    )  # fmt: skip
    places = rows[:, None] * channels + columns[None, :]
    tl.store(merged + place + places, tile.to(merged.dtype.element_ty), inside)


@dataclass(frozen=True)
class Packed:
    """Parameters of 1x1 convolutions that `merge` takes, in one type on one device.

    weights, a, b: weight, lora_A and lora_B, flat. shapes: (out, in) of each convolution.
    experts, rank: of all. tiles: (n, 7) int32, for each tile where weight, lora_A and lora_B
    of its convolution begin, the convolution's out and in, the tile's first row and column.
    """

    weights: Tensor
    a: Tensor
    b: Tensor
    shapes: tuple[tuple[int, int], ...]
    experts: int
    rank: int
    tiles: Tensor


def pack(convolutions: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Packed:
    """Copy the parameters of convolutions into one place.

    convolutions: weight (out, in, 1, 1), lora_A (E, r, in), lora_B (E, out, r) of each.
    """
    experts, rank, _ = convolutions[0][1].shape
    table, begins = [], [0, 0, 0]
    for weight, A, B in convolutions:
        outputs, channels = weight.shape[:2]
        corners = product(range(0, outputs, _ROWS), range(0, channels, _COLUMNS))
        table += [[*begins, outputs, channels, *corner] for corner in corners]
        sizes = (weight.numel(), A.numel(), B.numel())
        begins = [at + size for at, size in zip(begins, sizes, strict=True)]
    weights, a, b = (
        torch.cat([t.reshape(-1) for t in kind]) for kind in zip(*convolutions, strict=True)
    )
    shapes = tuple((weight.shape[0], weight.shape[1]) for weight, _, _ in convolutions)
    tiles = torch.tensor(table, dtype=torch.int32, device=convolutions[0][0].device)
    return Packed(weights, a, b, shapes, experts, rank, tiles)


def merge(packed: Packed, gates: Tensor, scale: float) -> Tensor:
    """Return the merged weights of all convolutions, flat, as `packed.weights` lie.

    gates: (E) float32. scale: alpha / rank.
    """
    merged = torch.empty_like(packed.weights)
    _merge_kernel[(len(packed.tiles),)](
        packed.weights, packed.a, packed.b, gates, packed.tiles, merged, scale,
        packed.experts, packed.rank, max(16, triton.next_power_of_2(packed.rank)),
        _ROWS, _COLUMNS, num_warps=4,
    )  # fmt: skip
    return merged
