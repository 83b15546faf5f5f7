"""Filling the cache of compiled graphs, so that no picture waits for a compilation."""

from collections.abc import Callable
from pathlib import Path

from lorair.runtime.restorer import Restorer
from lorair.runtime.routing.gates import one_expert


def warm(
    path: Path, backend: str, threads: int | None, progress: Callable[[float, str], None]
) -> str:
    """Compile a bundle's router, and its restorer for each class and for every other route.

    Args:
        path: the bundle's folder.
        backend: as `Restorer.open` takes it.
        threads: of the CPU; None for one a core.
        progress: takes the fraction done and what is being compiled.

    Returns:
        the backend that was warmed, described.

    Raises:
        LorairError: the bundle does not open, or the backend cannot run it here.
    """
    restorer = Restorer.open(path, backend, threads)
    progress(0, "router")
    restorer.backend.load_router()
    classes = restorer.bundle.manifest.model.classes
    steps = len(classes) + 1
    for number, name in enumerate(classes, 1):
        progress(number / steps, name)
        # One a class: a restorer binds the first gates that it meets.
        restorer = Restorer.open(path, restorer.backend.name, threads)
        restorer.backend.load_restorer(one_expert(name, classes))
    if len(classes) > 1:
        restorer.backend.load_restorer(one_expert(classes[0], classes))
    return restorer.backend.description
