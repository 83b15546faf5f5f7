"""The child's side: decode what the parent asks for, within a limit on memory.

Run as `python -m lorair.runtime.decoding.child`, with the parent's socket as standard input.
"""

import json
import os
import pickle
import select
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from lorair.runtime import images
from lorair.runtime.errors import LorairError, OutOfMemoryError, PictureError, as_lorair_error
from lorair.runtime.system.process import limit_memory

BASE_MEMORY: Final = 512_000_000
MEMORY_A_PIXEL: Final = 32
"""Bytes that decoding may take: so many, and so many for each pixel that is allowed."""

Read = Callable[[str | Path, int], images.Picture]
"""`images.read`, or what stands in for it: a file, and the most pixels -> the picture."""


def serve(read: Read = images.read) -> None:
    """Decode with `read` until the parent ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # it is the parent that ends this process
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    parent = socket.socket(fileno=0)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    parent.sendall(b"+")
    for line in parent.makefile(encoding="ascii"):
        source, max_pixels, deadline = json.loads(line)
        # The parent keeps the deadline. Should it die while code in C holds the
        # interpreter's lock, the system ends this process.
        signal.alarm(int(deadline) + 2)
        file, lengths = _answer(read, source, max_pixels)
        signal.alarm(0)
        with file:
            socket.send_fds(parent, [json.dumps(lengths).encode()], [file.fileno()])


def refused(source: str, wanted: str, found: str) -> PictureError:
    """Return the error of a picture that costs too much to decode."""
    return PictureError(f"cannot read {source}", wanted=wanted, found=found, hint="check the file")


def _end_with(parent: socket.socket) -> None:
    poll = select.poll()
    poll.register(parent, 0)  # nothing but its end
    poll.poll()
    os._exit(0)


def _answer(read: Read, source: str, max_pixels: int) -> tuple[IO[bytes], list[int]]:
    memory = BASE_MEMORY + MEMORY_A_PIXEL * max_pixels
    limit_memory(memory)
    try:
        return _packed(read(source, max_pixels))
    except (MemoryError, OutOfMemoryError):
        limit = f"at most {memory / 1e6:.0f} MB to decode"
        failure: LorairError = refused(source, limit, "out of memory decoding")
    except Exception as error:
        failure = as_lorair_error(error, f"cannot read {source}")
    return _packed(failure)


def _packed(answer: images.Picture | LorairError) -> tuple[IO[bytes], list[int]]:
    """Return a file of the answer's parts, the last of which is the pickle, and their lengths."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(answer, 5, buffer_callback=arrays.append)
    parts = [*(array.raw() for array in arrays), memoryview(pickled)]
    file = _nameless_file()
    for part in parts:
        file.write(part)
    file.flush()
    return file, [part.nbytes for part in parts]


def _nameless_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("lorair-picture"), "wb")
    return tempfile.TemporaryFile()


if __name__ == "__main__":
    serve()
