"""A backend whose network is any function, and a restorer on it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from lorair import Restorer, Route
from lorair.runtime.backends.tiles import PlainTiles
from lorair.runtime.errors import OutOfMemoryError

ROUTE = Route(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[0], np.zeros(4, np.float32),
              ("a", "b", "c"))  # fmt: skip


class Stub(PlainTiles):
    """A network that is a function of planes; `limit` is the most pixels it has memory for."""

    name, description, walk = "stub", "a stub", None

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], limit: float = 1e12) -> None:
        self.network, self.limit, self.sizes = network, limit, list[tuple[int, ...]]()
        self.memory: int | None = None
        self.largest: tuple[int, int] | None = None

    def load_router(self) -> None: ...

    def load_restorer(self, gates: np.ndarray) -> None: ...

    def route(self, views: np.ndarray) -> Any:
        raise AssertionError("the route was given")

    def restore(self, image: np.ndarray, prior: np.ndarray, gates: np.ndarray) -> np.ndarray:
        self.sizes.append(image.shape[2:])
        if image[0, 0].size > self.limit:
            raise OutOfMemoryError("memory ran out")
        return self.network(image)

    def bytes_a_pixel(self) -> float | None:
        return None

    def free_memory(self) -> int | None:
        return self.memory

    def largest_tile(self) -> tuple[int, int] | None:
        return self.largest


def restorer_of(stub: Stub) -> Restorer:
    model = SimpleNamespace(stride=16, width=16, clip_side=56, unchanged=())
    manifest: Any = SimpleNamespace(manifest=SimpleNamespace(model=model, precision="fp32"))
    return Restorer(manifest, stub)
