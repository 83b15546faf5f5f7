"""How many actors or replicas a cluster has room for."""

from dataclasses import dataclass
from typing import Final

from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.cluster.session import Resources
from lorair.runtime.errors import OptionError

_MEMORY: Final = 400 * 2**20
_COPIES: Final = 3
"""Memory of a process with a restorer: this, and its weights so many times: docs/scaling.md."""


@dataclass(frozen=True)
class Pool:
    """Actors. cpus, gpus: that each of them is counted for."""

    actors: int
    cpus: int
    gpus: float

    @classmethod
    def fitting(
        cls, found: Resources, actors: int | None, threads: int, gpus: float, bundle: Bundle
    ) -> "Pool":
        """Return as many actors as are asked for, or as many as CPUs, GPUs and memory allow.

        `actors` is None for as many as fit; `threads` and `gpus` are of each, and each opens the
        bundle.

        Raises OptionError: not even one fits.
        """
        fitting = [found.cpus // threads, *([found.gpus // gpus] if gpus else [])]
        if min(fitting) < 1:
            raise OptionError(
                "--threads and --num-gpus",
                wanted=f"at most {found.cpus:g} CPUs and {found.gpus:g} GPUs an actor",
                found=f"{threads} and {gpus:g}",
                hint="that is what the cluster has",
            )
        by_memory = max(1, found.memory // memory_of(bundle))
        return cls(actors or int(min(*fitting, by_memory)), threads, gpus)


def memory_of(bundle: Bundle) -> int:
    """Bytes that a process with a restorer of the bundle is likely to take."""
    sizes = (info.size for name, info in bundle.manifest.files.items() if name.endswith(".data"))
    return _MEMORY + _COPIES * sum(sizes)
