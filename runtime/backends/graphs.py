"""A bundle's graphs as a library has loaded them: their sizes, their failures, their gates.

Sizes are checked: a graph that is not the manifest's would give a wrong picture, not an error.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import numpy as np

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import BundleError, InternalError, OutOfMemoryError
from lorair.runtime.routing.gates import Gates

Shapes = dict[str, list[int | str]]
"""By input or output; what is free has a name, such as `16*h`."""


def router_shapes(model: ModelInfo) -> Shapes:
    """Of `router.onnx`."""
    side = model.clip_side
    return {
        "views": ["batch", 5, 3, side, side],
        "logits": ["batch", model.experts],
        "prior": ["batch", model.prior],
        "gates": ["batch", model.experts],
    }


def restorer_shapes(model: ModelInfo, *, bound: bool) -> Shapes:
    """Of the restorer's graph; a bound one takes no gates."""
    picture: list[int | str] = [1, 3, f"{model.stride}*h", f"{model.stride}*w"]
    shapes: Shapes = {"image": picture, "prior": [1, model.prior], "restored": picture}
    return shapes if bound else {**shapes, "gates": [model.experts]}


def tiled_shapes(model: ModelInfo, count: int, *, bound: bool) -> Shapes:
    """Of a graph for tiles, with `count` means; a bound one takes no gates."""
    means: list[int | str] = [1, count, 1, 1]
    corners: Shapes = {"own_start": [2], "own_end": [2], "has_means": []}
    return {**restorer_shapes(model, bound=bound), **corners, "means": means, "pooled": means}


def check_shapes(graph: Path, found: Shapes, wanted: Shapes) -> None:
    """Raise BundleError unless they are equal."""
    if found != wanted:
        raise BundleError(
            f"{graph} is not what the manifest says",
            wanted=str(wanted),
            found=str(found),
            hint="build the bundle again with `lorair-export build`",
        )


_PHRASES: Final = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "could not allocate",
    "cannot allocate",
    "can't allocate",
    "out of memory",
    # WebGPU: a tensor beyond the adapter's limits is bound in more parts than a shader takes.
    "too many storage buffers",
    "max buffer size limit",
    "failed to create gpu buffer",
)


def run_failure(library: str, what: str, error: Exception) -> InternalError:
    """The error that says what a library failed on: an OutOfMemoryError if it was memory."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in _PHRASES):
        return OutOfMemoryError(
            f"memory ran out in {library} on {what}",
            found=text,
            hint="try smaller tiles, such as --tile 512",
        )
    return InternalError(f"{library} failed on {what}", found=text)


G = TypeVar("G")
G_co = TypeVar("G_co", covariant=True)


class Graphs(Protocol[G_co]):
    """Compiled graphs of one kind."""

    def get(self, gates: Gates) -> tuple[G_co, bool]:
        """The graph for these gates, compiled first if need be, and whether it takes them."""


class FirstGates:
    """The gates that graphs are bound to: the first that one of them is asked for."""

    def __init__(self) -> None:
        self._gates: Gates | None = None
        self._lock = threading.Lock()

    def are(self, gates: Gates) -> bool:
        """Whether it is these; they are if there were none."""
        with self._lock:
            if self._gates is None:
                self._gates = gates.copy()
            return np.array_equal(self._gates, gates)


class BoundGraphs(Generic[G]):
    """At most two compiled graphs: one bound to the first route, one for all others.

    Bound means that the gates are constants, so that merged weights are as well: on a CPU
    10 to 20 % faster. One is kept rather than one a route because each holds all weights.

    Args:
        first: the route's gates, which a backend's kinds of graphs share: so a tile has the same
            weights to the last bit whichever picture of a run was the first in tiles.
        compile_bound: gates (E) -> graph; None if the bundle has no graph to bind.
        compile_general: -> graph that takes the gates as an input.
    """

    def __init__(
        self,
        first: FirstGates,
        compile_bound: Callable[[Gates], G] | None,
        compile_general: Callable[[], G],
    ) -> None:
        self._first = first
        self._compile_bound, self._compile_general = compile_bound, compile_general
        self._bound: G | None = None
        self._general: G | None = None
        self._lock = threading.Lock()

    def get(self, gates: Gates) -> tuple[G, bool]:
        """As `Graphs` says."""
        with self._lock:
            if self._compile_bound is not None and self._first.are(gates):
                if self._bound is None:
                    self._bound = self._compile_bound(gates.copy())
                return self._bound, False
            if self._general is None:
                self._general = self._compile_general()
            return self._general, True


class GraphEach(Generic[G]):
    """A compiled graph for each gates: all experts' at once, or as many mixtures.

    For a library that must have merged weights. The least recently used goes, since each holds
    all weights.

    Args:
        compile_bound: gates (E) -> graph.
    """

    def __init__(self, compile_bound: Callable[[Gates], G]) -> None:
        self._compile = compile_bound
        self._kept: dict[bytes, G] = {}
        self._lock = threading.Lock()

    def get(self, gates: Gates) -> tuple[G, bool]:
        """As `Graphs` says."""
        key = gates.tobytes()
        with self._lock:
            graph = self._kept.pop(key, None)
            self._kept[key] = self._compile(gates.copy()) if graph is None else graph
            if len(self._kept) > len(gates):
                del self._kept[next(iter(self._kept))]
            return self._kept[key], False
