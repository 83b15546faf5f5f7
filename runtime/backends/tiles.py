"""What a backend needs to restore a tile as a part of its picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import InternalError
from lorair.runtime.pixels import Array
from lorair.runtime.system.machine import available_memory

Means = npt.NDArray[np.float32]
"""(1, M, 1, 1): the pooled means of all blocks of the network, one after the other."""

Size = tuple[int, int]
Corner = tuple[int, int]


@dataclass(frozen=True, eq=False)
class TileInputs:
    """A tile and the guidance of its picture.

    image: (1, 3, H, W) float32 in [0, 1], H and W multiples of the stride.
    prior: (1, P). gates: (E).
    own_start, own_end: row and column, from where and up to where no other tile counts:
        multiples of the stride.
    """

    image: Array
    prior: Array
    gates: Array
    own_start: Corner
    own_end: Corner

    @property
    def name(self) -> str:
        """For people."""
        return f"a tile of {self.image.shape[3]}x{self.image.shape[2]}"

    @property
    def own_pixels(self) -> int:
        """Of the part that no other tile counts."""
        (top, left), (bottom, right) = self.own_start, self.own_end
        return (bottom - top) * (right - left)

    def feed(self, means: Means | None, count: int) -> dict[str, npt.NDArray[Any]]:
        """The inputs of a graph for tiles that has `count` means."""
        return {
            "image": self.image,
            "prior": self.prior,
            "gates": self.gates,
            "own_start": np.array(self.own_start, np.int64),
            "own_end": np.array(self.own_end, np.int64),
            "has_means": np.array(means is not None),
            "means": np.zeros((1, count, 1, 1), np.float32) if means is None else means,
        }


class PlainTiles:
    """A backend without a graph for tiles, which restores each as a picture of its own."""

    shares_means = False

    def restore_tile(self, tile: TileInputs, means: Means | None) -> tuple[Array, Means]:
        """Raises InternalError: `shares_means` says no."""
        raise InternalError(f"no graph for {tile.name}")

    def largest_tile(self) -> Size | None:
        """As `Backend` says: only memory limits it."""
        return None

    def bytes_a_pixel(self) -> float | None:
        """As `Backend` says."""
        return None

    def free_memory(self) -> int | None:
        """As `Backend` says: the host's."""
        return available_memory()
