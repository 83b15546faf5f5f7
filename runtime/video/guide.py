"""Which route each picture of a sequence is restored under, so that nothing flickers.

The router is asked at the first picture, at each scene cut, and every so many pictures in
between. At a cut the new route holds at once. Within a scene it is eased in over a few
pictures, and another expert is believed only when the router names it twice in a row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import OptionError
from lorair.runtime.routing.route import Route

Pixels = npt.NDArray[Any]
Reason = Literal["first", "cut", "expert"]

DEFAULT_EVERY: Final = 30
DEFAULT_EASE: Final = 8
DEFAULT_CUT: Final = 0.12
"""Mean difference of two neighbours' thumbnails, of 1. Falling snow and a panning camera stay
below 0.08, different photographs differ by 0.16 or more (docs/video.md)."""

_SIDE = 24
_PATIENCE = 2


@dataclass(frozen=True)
class Change:
    """A picture from which on another route holds.

    index: of the picture, from 0. reason: the first picture, a scene cut, or another expert
    within a scene. route: that holds from here on.
    """

    index: int
    reason: Reason
    route: Route


@dataclass
class RouteGuide:
    """Follows a sequence of pictures.

    ask: picture -> route; the router.
    every: pictures between two questions to the router; 0 for cuts only, 1 for each.
    ease: pictures over which a new route within a scene is mixed in; 0 for at once.
    cut: difference of neighbours from which on there is a scene cut; see `DEFAULT_CUT`.
    """

    ask: Callable[[Pixels], Route]
    every: int = DEFAULT_EVERY
    ease: int = DEFAULT_EASE
    cut: float = DEFAULT_CUT
    changes: list[Change] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        for option, value in (("--route-every", self.every), ("--ease", self.ease)):
            if value < 0:
                raise OptionError(option, wanted="0 or more", found=str(value))
        if not 0 < self.cut <= 1:
            raise OptionError("--scene-cut", wanted="above 0, to 1", found=f"{self.cut:g}")
        self._index = -1
        self._thumbnail: npt.NDArray[np.float32] | None = None
        self._from: Route | None = None
        self._to: Route | None = None
        self._eased = self._since = self._doubts = 0

    def follow(self, picture: Pixels) -> Route:
        """The route for the next picture, (H, W, 3) uint8 or uint16."""
        self._index += 1
        self._since += 1
        thumbnail = _thumbnail(picture)
        before, self._thumbnail = self._thumbnail, thumbnail
        if self._to is None:
            self._jump(picture, "first")
        elif before is not None and float(np.abs(thumbnail - before).mean()) >= self.cut:
            self._jump(picture, "cut")
        elif self.every and self._since >= self.every:
            self._reconsider(picture)
        return self._eased_route()

    def _jump(self, picture: Pixels, reason: Reason) -> None:
        self._from = self._to = self._ask(picture)
        self._eased = self.ease
        self.changes.append(Change(self._index, reason, self._to))

    def _reconsider(self, picture: Pixels) -> None:
        assert self._to is not None
        found = self._ask(picture)
        if found.top != self._to.top:
            self._doubts += 1
            if self._doubts < _PATIENCE:
                return
            self.changes.append(Change(self._index, "expert", found))
        self._doubts = 0
        self._from, self._to, self._eased = self._eased_route(advance=False), found, 0

    def _ask(self, picture: Pixels) -> Route:
        self.asked += 1
        self._since = 0
        return self.ask(picture)

    def _eased_route(self, *, advance: bool = True) -> Route:
        assert self._from is not None
        assert self._to is not None
        if self._eased >= self.ease:
            return self._to
        self._eased += advance
        share = np.float32(self._eased / self.ease)
        logits, gates, prior = (
            (1 - share) * getattr(self._from, name) + share * getattr(self._to, name)
            for name in ("logits", "gates", "prior")
        )
        return Route(logits, gates, prior, self._to.classes)


def _thumbnail(picture: Pixels) -> npt.NDArray[np.float32]:
    """Means of blocks of a grey picture, in [0, 1]; streaks and flakes average out."""
    height, width = picture.shape[:2]
    grey = picture.mean(2, dtype=np.float32) / np.float32(np.iinfo(picture.dtype).max)
    rows = np.linspace(0, height, min(_SIDE, height), endpoint=False).astype(int)
    columns = np.linspace(0, width, min(_SIDE, width), endpoint=False).astype(int)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 0), columns, 1)
    areas = np.diff([*rows, height])[:, None] * np.diff([*columns, width])[None, :]
    means: npt.NDArray[np.float32] = (sums / areas).astype(np.float32)
    return means
