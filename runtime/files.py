"""One picture, from file to file."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorair.runtime import images
from lorair.runtime.errors import PictureError
from lorair.runtime.pixels import changed_share
from lorair.runtime.routing.route import Route
from lorair.runtime.tiles import Progress, Tile

if TYPE_CHECKING:
    from lorair.runtime.pixels import Pixels
    from lorair.runtime.restorer import Restorer

_MUCH: Final = 0.25
"""Share of strongly changed pixels from which on a picture deserves a look: more than any of 42
held-out pictures has (0.15, heavy snow)."""

ChooseRoute = Callable[["Pixels"], Route | None]
"""(H, W, 3) pixels -> the route to restore them under; None to ask the router."""

Decode = Callable[[Path, int], images.Picture]
"""A file, and the most pixels that it may have -> the picture."""


@dataclass(frozen=True, eq=False)
class RestoredFile:
    """A file that was restored.

    size: width and height in pixels.
    seconds: time of each stage: decode, encode, and those of `Restored`.
    notes: what was lost on the way, and what deserves a look, for people.
    tile: side of the tiles it was restored in; None for at once.
    comparison: before and after, if they were wanted.
    """

    source: Path
    target: Path
    size: tuple[int, int]
    route: Route
    seconds: dict[str, float]
    notes: tuple[str, ...]
    tile: int | None = None
    comparison: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        compared = {} if self.comparison is None else {"compare": str(self.comparison)}
        return {
            "input": str(self.source),
            "output": str(self.target),
            "width": self.size[0],
            "height": self.size[1],
            "tile": self.tile,
            "route": self.route.to_dict(),
            "seconds": self.seconds,
            "notes": list(self.notes),
            **compared,
        }


@dataclass(frozen=True)
class Handling:
    """What is done to every file of a run.

    max_pixels: larger pictures are refused. encoding: of the results. tile: as
    `Restorer.restore` takes it, and so strength. decode: `images.read`, or what does the
    same elsewhere.
    """

    max_pixels: int = images.DEFAULT_MAX_PIXELS
    encoding: images.Encoding = field(default_factory=images.Encoding)
    tile: Tile = "auto"
    decode: Decode = images.read
    strength: float = 1.0

    def read(self, source: Path) -> images.Picture:
        """Decode a file. Raises PictureError if it is no picture, and says so of a folder."""
        if source.is_dir():
            raise PictureError(
                f"cannot read {source}",
                wanted="a picture",
                found="a folder",
                hint="name the pictures in it",
            )
        return self.decode(source, self.max_pixels)


def restore_file(
    restorer: "Restorer",
    source: Path,
    target: Path,
    choose: ChooseRoute = lambda pixels: None,
    handling: Handling = Handling(),
    *,
    comparison: Path | None = None,
    go_on: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> RestoredFile:
    """Decode, restore, encode.

    Args:
        restorer: to restore with.
        source: a picture.
        target: where the result goes; it appears whole or not at all.
        choose: the route.
        handling: what is done to it.
        comparison: where before and after go, side by side; None for nowhere.
        go_on: called between the stages; what it raises ends the work, nothing written.
        progress: as `Restorer.restore` takes it.

    Raises:
        PictureError: the source cannot be read.
        OutputError: the target cannot be written.
    """
    start = time.perf_counter()
    picture = handling.read(source)
    decoded = time.perf_counter()
    go_on()
    route = choose(picture.pixels)
    chosen = time.perf_counter()
    restored = restorer.restore(picture.pixels, route, handling.tile, progress, handling.strength)
    go_on()
    finished = time.perf_counter()
    after = picture.with_pixels(restored.image)
    if comparison is not None:  # first: who has the result has everything
        images.write(comparison, images.side_by_side(picture, after))
    lost = images.write(target, after, handling.encoding.like(source))
    end = time.perf_counter()
    seconds = {"decode": decoded - start, "route": chosen - decoded, **restored.seconds}
    seconds["encode"] = end - finished
    height, width = restored.image.shape[:2]
    doubts = (*restored.route.doubts(), *_surprises(picture.pixels, restored.image))
    notes = (*picture.notes, *lost, *doubts)
    return RestoredFile(
        source, target, (width, height), restored.route, seconds, notes, restored.tile, comparison
    )


def _surprises(before: "Pixels", after: "Pixels") -> tuple[str, ...]:
    share = changed_share(before, after)
    if share <= _MUCH:
        return ()
    return (f"{share:.0%} of the picture changed strongly; compare, or lower --strength",)
