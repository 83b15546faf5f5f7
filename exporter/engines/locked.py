"""One build at a time into a folder of a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lorair.runtime.system import console
from lorair.runtime.system.atomic import check_writable


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Of two builds the second waits; what failed and killed ones left goes."""
    check_writable(folder / "any")
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.note(f"another build is at work in {folder}; waiting for it")
        lock.acquire()
    try:
        for remains in (*folder.glob(".*.partial.*"), *folder.glob("*.log")):
            remains.unlink()
        yield
    finally:
        lock.release()
