"""Timing every backend that can run a bundle on this machine, each in a process of its own."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from lorair.runtime.backends import BACKENDS, BackendKind, tuned
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import LorairError
from lorair.runtime.pixels import padded_size

SIDES: Final = (256, 512)
"""Of the pictures, in pixels."""

SECONDS: Final = 60.0
"""For all backends together, beside what they need to load and for a first run."""

_PATIENCE: Final = 30.0
"""Seconds that a first run may take: what is slower is not timed further."""

_RUNS: Final = 20


@dataclass(frozen=True)
class Timing:
    """What a backend took, in seconds: the least of its runs, since others only add to it.

    router: of one picture. restorer: of pictures of each of `SIDES`. lacks: why it was not
    timed; the rest is empty then.
    """

    name: str
    router: float = 0.0
    restorer: tuple[float, ...] = ()
    lacks: str | None = None

    @property
    def seconds(self) -> float:
        """Of routing and restoring a picture of each size."""
        return sum(self.router + one for one in self.restorer)


def time_all(bundle: Bundle, progress: Callable[[float, str], None]) -> list[Timing]:
    """Time every backend that `auto` may take, and keep the result for it.

    Args:
        bundle: to be run.
        progress: takes the fraction done and what is being done.

    Returns:
        one of each backend, the fastest first, those that were not timed at the end.
    """
    found = []
    kinds = list(BACKENDS.values())
    usable = [kind for kind in kinds if _reason(kind, bundle) is None]
    for number, kind in enumerate(kinds):
        if kind in usable:
            progress(number / len(kinds), kind.name)
            found.append(_in_process(kind, bundle, SECONDS / len(usable)))
        else:
            found.append(Timing(kind.name, lacks=_reason(kind, bundle)))
    timed = {timing.name: timing.seconds for timing in found if timing.lacks is None}
    tuned.keep(bundle, kinds, timed)
    return sorted(found, key=lambda timing: timed.get(timing.name, np.inf))


def _reason(kind: BackendKind, bundle: Bundle) -> str | None:
    """Why `auto` does not take it, in a few words."""
    if bundle.manifest.precision not in kind.precisions:
        return f"its arithmetic is lower than an {bundle.manifest.precision} bundle asks for"
    return kind.missing() or kind.unfit(bundle)


def _in_process(kind: BackendKind, bundle: Bundle, seconds: float) -> Timing:
    """Idle threads and arenas of a backend disturb no other; nor does one that crashes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(time_backend, kind.name, bundle.path, seconds).result()
        except LorairError as error:
            return Timing(kind.name, lacks=error.line())
        except BrokenProcessPool:
            return Timing(kind.name, lacks="its process ended while it was timed")


def time_backend(name: str, path: Path, seconds: float) -> Timing:
    """Time one backend in this process, for about that many seconds after the first runs."""
    bundle = Bundle.open(path)
    backend = BACKENDS[name].open(bundle, None)
    model = bundle.manifest.model
    rng = np.random.default_rng(0)
    views = rng.standard_normal((1, 5, 3, model.clip_side, model.clip_side), np.float32)
    prior = rng.standard_normal((1, model.prior), np.float32)
    gates = np.eye(1, model.experts, dtype=np.float32)[0]
    works: dict[str, Callable[[], object]] = {"the router": lambda: backend.route(views)}
    for side in SIDES:
        padded = padded_size((side, side), model.stride)
        image = rng.random((1, 3, *padded), np.float32)
        works[f"a picture of {side}x{side}"] = partial(backend.restore, image, prior, gates)
    took = []
    for what, work in works.items():
        if (first := _seconds(work)) > _PATIENCE:
            return Timing(name, lacks=f"{what} took {first:.0f} s")
        took.append(_least(work, seconds / len(works)))
    return Timing(name, took[0], tuple(took[1:]))


def _least(work: Callable[[], object], seconds: float) -> float:
    samples: list[float] = []
    while len(samples) < _RUNS and sum(samples) < seconds:
        samples.append(_seconds(work))
    return min(samples)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
