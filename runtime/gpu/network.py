"""The two networks on a GPU, whoever runs them."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from lorair.runtime.gpu.memory import Shape


class Tensor(NamedTuple):
    """A contiguous float32 array on the device."""

    address: int
    shape: Shape


class Bound(Protocol):
    """A network whose inputs and outputs have their places."""

    @property
    def size(self) -> int:
        """Bytes of device memory that it holds for itself."""

    @property
    def capturable(self) -> bool:
        """Whether `enqueue` may run while a graph is captured; asked after a first run."""

    def prepare(self) -> int:
        """Make room for a run, outside of any capture.

        Returns:
            a number; while it stays the same, graphs that were captured hold.
        """

    def enqueue(self) -> None:
        """Put one run into the GPU's stream. The first may load and compile."""

    def close(self) -> None:
        """Give its memory back."""


class Branch(Protocol):
    """The router or a restorer on a GPU."""

    @property
    def size(self) -> int:
        """Bytes of its weights, which are on the GPU while anything is bound."""

    def bind(self, tensors: Mapping[str, Tensor]) -> Bound:
        """Give every input and output, by name, its place; others are not looked at."""
