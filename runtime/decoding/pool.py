"""The parent's side: child processes, a deadline for each picture, and its way back.

Decoders are C libraries, and a small file can make one allocate without end, run without end
or crash. In a process of its own it costs only itself. This is no sandbox: a child has its
parent's rights.

A request is a line of JSON on a Unix socket. An answer is the descriptor of a file in memory
that has no name, and the lengths of its parts: the picture's arrays, and the pickle that
refers to them. The file is mapped, not copied, and nothing can be left behind.
"""

import json
import mmap
import os
import pickle
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lorair.runtime.decoding.child import refused
from lorair.runtime.errors import InternalError, LorairError, OptionError
from lorair.runtime.images import Picture
from lorair.runtime.system.process import ending_of

AVAILABLE: Final = hasattr(socket, "send_fds")
"""Whether this system passes descriptors of files between processes, as Unix does."""

COMMAND: Final = (sys.executable, "-P", "-m", "lorair.runtime.decoding.child")

# Address space that is reserved for threads and never used counts against the limit.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
_START_SECONDS, _LONGEST = 60.0, 86400.0


class Decoders:
    """Child processes that decode, each one picture at a time.

    There are as many as pictures are read at once. They end with `close`, with the context
    manager, and when this process ends in any way.

    Args:
        deadline: seconds that a picture may take, from when a process has it.
        ready: processes to start now; further ones start when they are needed.
        command: that starts a child.

    Raises:
        OptionError: the deadline is no number of seconds up to a day, or this system cannot
            pass pictures between processes.
    """

    def __init__(self, deadline: float, ready: int = 0, command: tuple[str, ...] = COMMAND) -> None:
        if not 0 < deadline <= _LONGEST:
            raise OptionError("--timeout", wanted="seconds, up to a day", found=f"{deadline:g}")
        if not AVAILABLE:
            raise OptionError("--timeout", wanted="Linux, macOS or another Unix", found=os.name)
        self._deadline, self._command = deadline, command
        self._lock = threading.Lock()
        self._closed = False
        self._busy: set[_Decoder] = set()
        self._idle = [_Decoder(command) for _ in range(ready)]

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, source: str | Path, max_pixels: int) -> Picture:
        """Decode a picture as `images.read` does, and raise what it raises.

        A relative path is taken from where the process was started.

        Raises PictureError: also if the picture takes too long or too much memory to decode, or if
        it ends the process.
        """
        decoder = self._take(source)
        try:
            answer = decoder.ask(str(source), max_pixels, self._deadline)
        finally:
            self._give_back(decoder)
        if isinstance(answer, LorairError):
            raise answer
        return answer

    def close(self) -> None:
        """End the processes, also those that are decoding."""
        with self._lock:
            self._closed = True
            for decoder in self._busy:
                decoder.process.kill()  # its reader does the rest
            while self._idle:
                self._idle.pop().end()

    def _take(self, source: str | Path) -> "_Decoder":
        with self._lock:
            if self._closed:
                raise InternalError(f"cannot read {source}", found="decoders that are closed")
            decoder = self._idle.pop() if self._idle else _Decoder(self._command)
            self._busy.add(decoder)
            return decoder

    def _give_back(self, decoder: "_Decoder") -> None:
        """Have a living process for the next picture."""
        with self._lock:
            self._busy.remove(decoder)
            if self._closed:
                decoder.end()
            else:
                decoder.start_if_dead()
                self._idle.append(decoder)


class _Decoder:
    """A child process, and the next one when it has died."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._start()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                process_group=0,  # Ctrl-C is for the parent
            )
        self._is_ready = False

    def start_if_dead(self) -> None:
        """Start another process if this one is dead."""
        if self.process.poll() is not None:
            self.end()
            self._start()

    def end(self) -> int:
        """End the process; return its exit code."""
        self.process.kill()
        self._socket.close()
        return self.process.wait()

    def ask(self, source: str, max_pixels: int, deadline: float) -> Picture | LorairError:
        """Have a picture decoded. However the exchange fails, the process ends."""
        try:
            self.start_if_dead()
            self._wait_until_ready()
            return self._exchange([source, max_pixels, deadline])
        except TimeoutError:
            self.end()
            return refused(source, f"at most {deadline:g} s to decode", "no end")
        except (OSError, ValueError):  # the connection ends
            found = f"one that ends its decoder ({ending_of(self.end())})"
            return refused(source, "a picture", found)
        except BaseException:
            self.end()
            raise

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        self._socket.settimeout(_START_SECONDS)
        with suppress(OSError):
            self._is_ready = self._socket.recv(1) != b""
        if not self._is_ready:
            raise InternalError("cannot start a process to decode in", found=ending_of(self.end()))

    def _exchange(self, request: list[Any]) -> Picture | LorairError:
        self._socket.settimeout(request[-1])
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        message, files, _, _ = socket.recv_fds(self._socket, 2**10, 1)
        lengths: list[int] = json.loads(message)
        try:
            rest = memoryview(mmap.mmap(files[0], sum(lengths)))
        finally:
            os.close(files[0])
        parts = []
        for length in lengths:
            parts.append(rest[:length])
            rest = rest[length:]
        answer: Picture | LorairError = pickle.loads(parts[-1], buffers=parts[:-1])
        return answer
