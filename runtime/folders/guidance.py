"""Under which route each picture of a run is restored."""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lorair.runtime.errors import OptionError
from lorair.runtime.routing.gates import Gates
from lorair.runtime.routing.route import Route

if TYPE_CHECKING:
    from lorair.runtime.pixels import Pixels
    from lorair.runtime.restorer import Restorer

Every = int | Literal["first", "each"]


class Guidance:
    """Chooses the routes of a run, whatever part of it is left to do.

    A picture's route, and the gates that the backend compiles for, depend on the whole list
    of sources and never on which are done already or which thread comes first: a run that
    was interrupted and one that was not give the same bytes.

    Args:
        restorer: whose router is asked.
        sources: all pictures of the run, in order.
        read: one of the sources -> (H, W, 3) pixels.
        given: a saved route for all of them.
        every: each picture is routed, only the first, or every so many.
        gates: (E,), instead of the router's; the prior stays the router's.
    """

    def __init__(
        self,
        restorer: "Restorer",
        sources: Sequence[Path | str],
        read: Callable[[Any], "Pixels"],
        given: Route | None = None,
        every: Every = "each",
        gates: Gates | None = None,
    ) -> None:
        self._restorer, self._sources, self._read = restorer, sources, read
        self._given, self._gates = given, gates
        self._is_shared = every != "each"
        self._every = every if isinstance(every, int) else max(1, len(sources))
        self._groups: dict[int, tuple[int, Route] | None] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Let the backend compile for the run's gates, before threads race for it."""
        gates = self._gates
        if gates is None:
            gates = next((route.gates for route in self._first_routes()), None)
        if gates is not None:
            self._restorer.backend.load_restorer(gates)

    def choose(self, index: int, pixels: "Pixels") -> Route | None:
        """The route of the picture with this index; None to ask the router."""
        route = self._known(index)
        if self._gates is None:
            return route
        return (route or self._restorer.route(pixels)).with_gates(self._gates)

    def _first_routes(self) -> Iterable[Route]:
        if self._given is not None:
            yield self._given
            return
        for start in range(0, len(self._sources), self._every):
            if (anchor := self._anchor(start)) is not None:
                yield anchor[1]

    def _known(self, index: int) -> Route | None:
        """The route if it is given, another picture's, or was found out by `prepare`."""
        if self._given is not None:
            return self._given
        start = index - index % self._every
        if not self._is_shared and start not in self._groups:
            return None
        anchor = self._anchor(start)
        is_its = anchor is not None and (self._is_shared or anchor[0] == index)
        return anchor[1] if anchor is not None and is_its else None

    def _anchor(self, start: int) -> tuple[int, Route] | None:
        """The first picture from there that can be routed, with its route."""
        with self._lock:
            if start not in self._groups:
                self._groups[start] = self._find(start)
            return self._groups[start]

    def _find(self, start: int) -> tuple[int, Route] | None:
        for index in range(start, min(start + self._every, len(self._sources))):
            try:
                return index, self._restorer.route(self._read(self._sources[index]))
            except Exception:  # reported when it is that picture's turn
                continue
        return None


def parse_every(text: str) -> Every:
    """Return `first`, `each`, or a number of pictures; raise OptionError for anything else."""
    if text == "first":
        return "first"
    if text in ("each", "1"):
        return "each"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise OptionError("--route-from", wanted="first, each, or a number from 1", found=text)
