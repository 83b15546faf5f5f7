"""What this machine offers."""

import os
import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

MAX_DEFAULT_JOBS: Final = 4
"""Each picture in work needs its own activations: several GB for a large one at full size."""

_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_QUOTA = _CGROUP / "cpu.max"
_MEMORY = Path("/proc/meminfo")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except ImportError:  # a parent, or an import hook, says no
        return False


def usable_cores() -> int:
    """Logical cores that this process may run on; a container often has fewer than the machine."""
    return len(affinity()) or os.cpu_count() or 1


@cache
def default_threads() -> int:
    """Threads to compute with: one a physical core, within the container's CPU quota.

    Two threads on one core's two hyperthreads share its arithmetic units, so a second one
    gains nothing for convolutions.
    """
    physical = {_siblings(core) for core in affinity()}
    threads = len(physical) or os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, threads if quota is None else min(threads, round(quota)))


def default_jobs(threads: int | None = None) -> int:
    """Pictures to work on at once: one a thread, and no more than memory is likely to hold."""
    return min(threads or default_threads(), MAX_DEFAULT_JOBS)


def threads_each(threads: int | None, jobs: int) -> int:
    """CPU threads for each of `jobs` pictures; `threads` is for all, None for the default."""
    return max(1, (threads or default_threads()) // jobs)


def describe_threads(threads: int, jobs: int) -> str:
    """For reports: `2 threads`, or `2 pictures at once on 1 thread each`."""
    if jobs == 1:
        return f"{threads} threads"
    return f"{jobs} pictures at once on {threads} thread{'s'[: threads != 1]} each"


def processor_name() -> str:
    """The processor's model, as its maker calls it."""
    models = [line.partition(":")[2].strip() for line in cpu_info("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def cpu_info(*names: str) -> list[str]:
    """Return the first processor's lines of /proc/cpuinfo that begin with these names."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.split("\n\n", 1)[0].splitlines() if line.startswith(names)]


def cpu_quota() -> float | None:
    """Cores' worth of time that the container may use (cgroup v2); None without a limit."""
    try:
        quota, period = _CGROUP_QUOTA.read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def peak_memory() -> int | None:
    """The most bytes of RAM this process has held at once (peak RSS); None where unknown."""
    # getrusage would count the parent from which a child was started.
    return _kilobytes(Path("/proc/self/status"), "VmHWM:")


def available_memory() -> int | None:
    """Bytes of RAM that can still be had without swapping; None where unknown.

    What the system says is available, within the container's limit (cgroup v2 or v1).
    """
    found = (_system_memory(), _container_memory())
    return min((size for size in found if size is not None), default=None)


def _system_memory() -> int | None:
    return _kilobytes(_MEMORY, "MemAvailable:")


def _kilobytes(file: Path, name: str) -> int | None:
    """Return in bytes what a line of a file in /proc says in kilobytes; None where it does not."""
    try:
        lines = map(str.split, file.read_text("ascii").splitlines())
        return next((int(line[1]) * 1024 for line in lines if line[:1] == [name]), None)
    except (OSError, ValueError):
        return None


def _container_memory() -> int | None:
    """The limit less what is in use; files that were only read (inactive) can be dropped."""
    v1 = "memory/memory"
    for limit, usage, stat, key in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (f"{v1}.limit_in_bytes", f"{v1}.usage_in_bytes", f"{v1}.stat", "total_inactive_file"),
    ):
        try:
            lines = map(str.split, (_CGROUP / stat).read_text("ascii").splitlines())
            droppable = next((int(size) for name, size in lines if name == key), 0)
            used = int((_CGROUP / usage).read_text("ascii")) - droppable
            return max(0, int((_CGROUP / limit).read_text("ascii")) - used)
        except (OSError, ValueError):  # absent, or `max`: no limit
            continue
    return None


def affinity() -> set[int]:
    """Numbers of the logical cores that this process may run on; empty where unknown."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _siblings(core: int) -> str:
    """The logical cores that share a physical one, as the kernel writes them."""
    try:
        return Path(_TOPOLOGY.format(core)).read_text("ascii").strip()
    except OSError:
        return str(core)
