"""What a process may take, and how it ended."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def limit_memory(size: int) -> None:
    """Refuse this process more than `size` bytes beside those it has; only Linux can."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return
    import resource

    limit = pages * os.sysconf("SC_PAGE_SIZE") + size
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def ending_of(code: int) -> str:
    """Return in words how a process ended that has this exit code."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
