"""What this machine offers."""

import os


def usable_cores() -> int:
    """Cores that this process may run on; a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
