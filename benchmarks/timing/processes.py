"""Time whole commands from start to exit, with processor time and peak memory.

Users wait for commands, which also start Python, load graphs and compile. Commands take
turns within each round, so that a noisy machine hurts them alike.
"""

import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from lorair.benchmarks.schema.costs import CommandRun
from lorair.runtime.errors import OptionError, VerificationError
from lorair.runtime.system.machine import peak_memory

_ERROR: Final = 400  # characters of a failed command's output that its error shows
_OUTPUT: Final = 4000  # characters that the result keeps


@dataclass
class TimedCommand:
    """A command, and what its runs took so far: seconds, and the most bytes held.

    output: the end of what the last run printed.
    """

    argv: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: int = 0
    output: str = ""

    def run(self) -> None:
        """Run it once more. Raises VerificationError if it fails."""
        with tempfile.TemporaryFile() as output:
            start = time.perf_counter()
            code, usage = self._wait(output)
            seconds = time.perf_counter() - start
            output.seek(0)
            self.output = output.read().decode(errors="replace")[-_OUTPUT:]
        if code != 0:
            raise VerificationError(
                f"cannot time {' '.join(self.argv)}", wanted="exit code 0",
                found=f"{code}: {' '.join(self.output.split())[-_ERROR:]}",
                hint="run it by itself first",
            )  # fmt: skip
        self.seconds.append(seconds)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.memory = max(self.memory, usage.ru_maxrss * 1024)

    def _wait(self, output: IO[bytes]) -> "tuple[int, resource.struct_rusage]":
        process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, start_new_session=True)  # fmt: skip
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _end(process)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage

    def result(self) -> CommandRun:
        """Return the result of the runs so far."""
        # Linux begins a child's peak with its parent's: below that nothing is known.
        held = self.memory if self.memory > (peak_memory() or 0) else None
        return CommandRun(
            command=self.argv, seconds=tuple(self.seconds), cpu_seconds=tuple(self.cpu),
            p50=statistics.median(self.seconds), peak_memory=held, output=self.output,
        )  # fmt: skip


def check(commands: list[tuple[str, ...]]) -> list[TimedCommand]:
    """Return the commands to time. Raises OptionError for one that is not there."""
    for argv in commands:
        if not argv or shutil.which(argv[0]) is None:
            raise OptionError(
                "COMMAND",
                wanted="a program and its arguments in one string",
                found=" ".join(argv) or "nothing",
                hint="such as 'lorair-run infer photo.jpg'",
            )
    return [TimedCommand(argv) for argv in commands]


def measure(timed: list[TimedCommand], rounds: int, done: Callable[[], None]) -> None:
    """Run each command once in each round."""
    for _ in range(rounds):
        for command in timed:
            command.run()
            done()


def sizes(paths: list[Path]) -> dict[str, int]:
    """Return the bytes of files, and of folders with everything in them."""
    return {str(path): _size(path) for path in paths}


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if path.is_file():
        return path.stat().st_size
    raise OptionError("--size-of", wanted="a file or folder", found=f"nothing at {path}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command and what it started; first so that it can clean up."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
