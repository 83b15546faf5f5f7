"""`Restorer.restore_many`: pictures in, restored pictures out, in order."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from lorair.runtime.errors import LorairError, as_lorair_error
from lorair.runtime.files import Handling
from lorair.runtime.routing.route import Route
from lorair.runtime.system.ordered import in_order

if TYPE_CHECKING:
    from lorair.runtime.pixels import Pixels
    from lorair.runtime.restorer import Restored, Restorer


def restore_many(
    restorer: "Restorer",
    sources: "Iterable[str | Path | Pixels]",
    route: Route | None,
    *,
    raises: bool,
    max_pixels: int,
) -> "Iterator[Restored | LorairError]":
    """As `Restorer.restore_many` says."""
    handling = Handling(max_pixels)

    def work(source: "str | Path | Pixels") -> "Restored | LorairError":
        try:
            if isinstance(source, np.ndarray):
                return restorer.restore(source, route)
            return restorer.restore(handling.read(Path(source)).pixels, route)
        except Exception as error:
            name = "an array" if isinstance(source, np.ndarray) else source
            return as_lorair_error(error, f"cannot restore {name}")

    rest = iter(sources)
    # The first one alone: its gates are those that the backend compiles for.
    first = map(work, islice(rest, 1))
    jobs = restorer.jobs
    for result in chain(first, in_order(work, rest, jobs, 2 * jobs, Event())):
        if raises and isinstance(result, LorairError):
            raise result
        yield result
