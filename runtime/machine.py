"""What this machine offers."""

import os
import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
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


def processor_name() -> str:
    """The processor's model, as its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def cpu_quota() -> float | None:
    """Cores' worth of time that the container may use (cgroup v2); None without a limit."""
    try:
        quota, period = _CGROUP_QUOTA.read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def peak_memory() -> int | None:
    """The most bytes of RAM this process has held at once (peak RSS); None where unknown."""
    try:
        # getrusage would count the parent from which a child was started.
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
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
