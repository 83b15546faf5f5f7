"""How much of a result one program of a kernel makes: plain Python, importable everywhere.

The launchers and the ahead-of-time compiler choose from the same few tilings, so what is
compiled into a bundle is what would be launched.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

FUSION: Final = {"enable_fp_fusion": True}
"""Products and sums may become one operation, rounded once. Said with every kernel, because
Triton's default is about to change."""


class _Tile:
    def constants(self) -> dict[str, Any]:
        """Return the sides, whose names are one letter, as the kernel names them."""
        return {f"BLOCK_{name.upper()}": n for name, n in vars(self).items() if len(name) == 1}


@dataclass(frozen=True)
class ConvTile(_Tile):
    """A tiling of a 1x1 convolution: m output channels by n pixels, k input channels a step.

    warps: of 32 threads, that share the work.
    stages: tiles in flight from memory while one is multiplied.
    """

    m: int
    n: int
    k: int
    warps: int
    stages: int

    def programs(self, made: int, pixels: int) -> int:
        """Return how many programs a result of `made` channels by `pixels` takes."""
        return -(-made // self.m) * -(-pixels // self.n)

    def suits(self, made: int, pixels: int) -> bool:
        """Return whether it wastes no rows and makes enough programs."""
        enough = self.programs(made, pixels) >= _MANY_PROGRAMS
        return enough & ((made >= self.m) | (self.m <= SMALL.m))


@dataclass(frozen=True)
class NormTile(_Tile):
    """A tiling of NormScaleAdd: n pixels, k channels a step."""

    n: int
    k: int
    warps: int

    def programs(self, pixels: int) -> int:
        """Return how many programs a plane of `pixels` takes."""
        return -(-pixels // self.n)


@dataclass(frozen=True)
class DepthwiseTile(_Tile):
    """A tiling of the depthwise convolution: h x w pixels of one pair of channels."""

    h: int
    w: int
    warps: int

    def programs(self, height: int, width: int) -> int:
        """Return how many programs a plane of one channel takes."""
        return -(-height // self.h) * -(-width // self.w)


LARGE: Final = ConvTile(m=128, n=128, k=32, warps=8, stages=3)
TALL: Final = ConvTile(m=128, n=64, k=32, warps=8, stages=3)
MEDIUM: Final = ConvTile(m=64, n=128, k=32, warps=8, stages=3)
SQUARE: Final = ConvTile(m=64, n=64, k=32, warps=8, stages=3)
SMALL: Final = ConvTile(m=64, n=32, k=32, warps=4, stages=3)
"""Few pixels, as in the middle of the network: more programs of less work each."""

SMALL_SHARED: Final = replace(SMALL, warps=8)
"""The same by twice the warps: two forms spill with four (`docs/kernels.md`)."""

EXACT: Final = ConvTile(m=32, n=64, k=16, warps=4, stages=2)
"""For float32, which is multiplied without tensor cores and needs twice the registers."""

NORM: Final = NormTile(n=64, k=32, warps=4)
DEPTHWISE: Final = DepthwiseTile(h=8, w=64, warps=4)

MEAN_BLOCK: Final = 128
"""Sums that one program of the mean adds at a time: 1024 x 64 pixels of 8 x 64 tiles."""

ALIGNMENT: Final = 16
"""Channels are multiples of it by the network's making. Pixels of a plane mostly are: where
they are not, rows do not start at multiples of 16 bytes, and a kernel of its own is needed."""

MAX_PIXELS: Final = 1 << 24
"""Of a plane: offsets within a tile of 128 rows are 32-bit integers."""

_MANY_PROGRAMS = 256
"""About two for each multiprocessor of a large GPU: below this some would idle."""


def conv_tiles(element_size: int, *, norm: bool, gate: bool, scaled: bool) -> tuple[ConvTile, ...]:
    """Return the tilings of a 1x1 convolution, most work first.

    The first is the largest whose tiles, statistics and both halves stay in registers on every SM;
    the last has as many warps as its form needs for that (`docs/kernels.md`). element_size: bytes a
    number; 4 is float32. norm: pixels' statistics are held beside the tile. gate: a program makes
    both halves. scaled: the weights' columns are scaled.
    """
    if element_size == 4:
        return (EXACT,)
    if gate:
        return SQUARE, SMALL
    return (TALL if norm else LARGE), MEDIUM, (SMALL_SHARED if norm or scaled else SMALL)
