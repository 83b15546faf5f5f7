"""One build at a time into a folder of a bundle, and what comes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout

from lorair.runtime.bundle.files import Stored
from lorair.runtime.system import console
from lorair.runtime.system.atomic import check_writable

R = TypeVar("R", bound=Stored)


@dataclass(frozen=True)
class Built(Generic[R]):
    """A file that was added to a bundle. fresh: whether it was built just now."""

    path: Path
    record: R
    fresh: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        record = self.record.model_dump(mode="json")
        return {"path": str(self.path), "fresh": self.fresh, "record": record}


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
