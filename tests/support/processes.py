"""Other processes: starting a command, waiting for what one does, and whether it lives."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

LIMIT = 300
"""Seconds for anything that another process does: a busy machine is no failure."""

Found = TypeVar("Found")


def console_script(module: str, *before: str) -> list[str]:
    """`lorair.MODULE.commands.main` as an argv; Python lines that run first, such as patches.

    Ctrl-C does what it does in a terminal: a child inherits it ignored if the tests were
    started so, as shells do with jobs in the background.
    """
    lines = (
        "import signal",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        *before,
        f"from lorair.{module}.commands.main import main",
        "main()",
    )
    return [sys.executable, "-c", "\n".join(lines)]


def wait_for(what: Callable[[], Found]) -> Found:
    """What the call returns, as soon as that is true."""
    limit = time.monotonic() + LIMIT
    while not (found := what()):
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.01)
    return found


def is_alive(process: int) -> bool:
    """Whether it runs; what has ended and was not asked for its exit code does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
