"""Under which route each picture of a run is restored."""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import OptionError
from lorair.runtime.route import Route

if TYPE_CHECKING:
    from lorair.runtime.planes import Pixels
    from lorair.runtime.restorer import Restorer

Gates = npt.NDArray[np.float32]
Every = int | Literal["first", "each"]

SUM_TOLERANCE: Final = 1e-3
"""Thirds written with three digits pass."""


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


def parse_gates(text: str, classes: tuple[str, ...]) -> Gates:
    """`rain=0.7,snow=0.3` -> (E,); classes that are not named have 0.

    Raises:
        OptionError: not that form, an unknown or repeated class, no share, or another sum.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        share = _number(value)
        if not equals or share is None or name in shares:
            raise _bad_gates("NAME=SHARE,... with each name once and shares of 0 to 1", part, "")
        _check_class("--gates", name, classes)
        shares[name] = share
    total = sum(shares.values())
    if abs(total - 1) > SUM_TOLERANCE:
        hint = "divide each by the sum" if total > 0 else "give at least one class a share"
        raise _bad_gates("shares that sum to 1", f"{total:g}", hint)
    return np.array([shares.get(name, 0) for name in classes], np.float32)


def one_expert(name: str, classes: tuple[str, ...]) -> Gates:
    """(E,): 1 for the class, 0 for the others.

    Raises:
        OptionError: there is no such class.
    """
    _check_class("--expert", name, classes)
    return np.array([float(name == other) for other in classes], np.float32)


def parse_every(text: str) -> Every:
    """`first`, `each`, or a number of pictures.

    Raises:
        OptionError: none of these.
    """
    if text == "first":
        return "first"
    if text in ("each", "1"):
        return "each"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise OptionError("--route-from", wanted="first, each, or a number from 1", found=text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _check_class(option: str, name: str, classes: tuple[str, ...]) -> None:
    if name not in classes:
        wanted: Any = ", ".join(classes)
        raise OptionError(
            option, wanted=f"one of {wanted}", found=name, hint="these are the bundle's classes"
        )


def _bad_gates(wanted: str, found: str, hint: str) -> OptionError:
    return OptionError(
        "--gates", wanted=wanted, found=found or "nothing", hint=hint or "such as rain=0.7,snow=0.3"
    )
