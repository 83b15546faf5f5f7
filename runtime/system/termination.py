"""SIGTERM leaves a command by SystemExit, so that everything is cleaned up on the way.

The signal's handler sets a flag and raises once. A library may swallow what is raised (an
import becomes an ImportError, a `__del__` drops it): long work calls `check` between its
pictures, tiles, frames and steps, and the end of the command looks at the flag once more.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

EXIT_CODE: Final = 128 + signal.SIGTERM

GRACE: Final = 8
"""Seconds for cleaning up. Then the kernel ends the process by SIGALRM, whatever its threads
do: sooner than Docker's SIGKILL, which comes after 10."""

_state = {"told": False}


@contextmanager
def raised() -> Iterator[None]:
    """Raise SystemExit(143) in the main thread on SIGTERM, at the end of the block at the latest.

    Later signals change nothing, so that cleaning up is not interrupted.
    """
    _state["told"] = False
    before = signal.signal(signal.SIGTERM, _raise_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: not set from Python
        check()


def check() -> None:
    """Raise SystemExit if SIGTERM has come: what was raised then may have been swallowed."""
    if _state["told"]:
        sys.exit(EXIT_CODE)


def answer() -> None:
    """Forget the signal: a server takes its own time to end, and has an exit code of its own."""
    _state["told"] = False
    _set_alarm(0)


def _raise_once(number: int, frame: FrameType | None) -> None:
    if not _state["told"]:
        _state["told"] = True
        _set_alarm(GRACE)
        check()


@atexit.register
def _leave() -> None:
    """Skip the end of the interpreter, where taking PyTorch down takes 1 to 2 s of CPU.

    Called after the libraries' own, which are registered later.
    """
    if _state["told"]:
        with suppress(OSError, ValueError):  # closed, or nobody reads it
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(EXIT_CODE)


def _set_alarm(seconds: int) -> None:
    if hasattr(signal, "alarm"):  # Windows has none
        signal.alarm(seconds)
