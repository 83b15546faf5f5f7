"""A decoder that does what a file says, run as a child of `Decoders`; else it decodes.

The file is `DEED FIFO`. It writes its process's number into FIFO, which it keeps open as long
as it lives; what reads it sees so when it begins and when it has died.
"""

import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

from lorair.runtime import images
from lorair.runtime.decoding.child import serve

DEEDS = {
    "hang": lambda: time.sleep(600),
    "hold": lambda: ctypes.PyDLL(None).sleep(600),  # in C, with the interpreter's lock
    "allocate": lambda: bytearray(2**32),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: sys.exit(3),
    "fail": lambda: ctypes.py_object().value,
}
COMMAND = (sys.executable, "-P", __file__)
_open = []


class Deed:
    """A file for the made-up decoder, and what is heard of who reads it."""

    def __init__(self, deed: str, folder: Path) -> None:
        fifo = folder / f"{deed}.fifo"
        os.mkfifo(fifo)
        self.path = folder / deed
        self.path.write_text(f"{deed} {fifo}")
        self._fifo = fifo

    def process(self) -> int:
        """Wait until it has begun."""
        self.said = self._fifo.open()
        return int(self.said.readline())

    def wait_for_its_end(self) -> None:
        with self.said:
            assert select.select([self.said], [], [], 60)[0]
            assert self.said.read() == ""


def read(path: str | Path, max_pixels: int) -> images.Picture:
    deed, _, fifo = Path(path).read_bytes()[:200].partition(b" ")
    if deed.decode("latin-1") in DEEDS:
        if fifo:
            _open.append(os.open(fifo, os.O_WRONLY))
            os.write(_open[-1], b"%d\n" % os.getpid())
        DEEDS[deed.decode()]()
    return images.read(path, max_pixels)


if __name__ == "__main__":
    serve(read)
