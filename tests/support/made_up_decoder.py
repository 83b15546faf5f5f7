"""A decoder that does what a file's name says: hang, allocate, crash and the like.

Run as a child of `Decoders` in place of the real one; other files are decoded as ever.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

from lorair.runtime import images
from lorair.runtime.decoding.child import serve


def read(path: str | Path, max_pixels: int) -> images.Picture:
    deed = Path(path).stem
    if deed in ("hang", "spin"):
        Path(path).write_text(str(os.getpid()))
        while deed == "spin":
            pass
        time.sleep(600)
    if deed == "held":  # in C, with the interpreter's lock
        Path(path).write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(600)
    if deed == "allocate":
        bytearray(2**40)
    if deed == "crash":
        ctypes.string_at(0)
    if deed == "exit":
        sys.exit(3)
    if deed == "bug":
        raise RuntimeError("a bug")
    return images.read(path, max_pixels)


if __name__ == "__main__":
    serve(read)
