"""Building an engine in a child process: start it, show its progress, end it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import IO, Any

from lorair.exporter.engines.worker import Job
from lorair.runtime.errors import EngineError
from lorair.runtime.system.process import ending_of

WORKER = (sys.executable, "-P", "-m", "lorair.exporter.engines.worker")

Report = Callable[[float, str], None]


def run_worker(job: Job, log: Path, timeout: float, report: Report) -> dict[str, Any]:
    """Build one engine in a child process. However this function ends, so does the child.

    Args:
        job: what to build.
        log: file for what the library prints; kept, and named in the message, if it fails.
        timeout: in seconds.
        report: called with the fraction done and the name of the phase.

    Returns:
        what the worker's `build` returns.

    Raises:
        EngineError: the child failed, died or took too long.
    """
    with _logged(log) as out, _child(out) as child:
        start = time.monotonic()
        late = Timer(timeout, child.kill)
        late.start()
        try:
            answer = _converse(child, job, report)
        finally:
            late.cancel()
        if "done" in answer:
            done: dict[str, Any] = answer["done"]
            return done
        if "error" in answer:
            raise EngineError(**answer["error"])
        if time.monotonic() - start >= timeout:
            raise EngineError(
                f"building the {job.depends.branch}'s engine took too long",
                wanted=f"at most {timeout:g} s",
                found="no end",
                hint="give it more with --timeout",
            )
        raise EngineError(
            f"{job.library} ended its process while building the {job.depends.branch}'s engine",
            found=ending_of(child.wait()),
            hint="nothing was written",
        )


def _converse(child: subprocess.Popen[str], job: Job, report: Report) -> dict[str, Any]:
    """Send the job, report its progress; the last answer, or {} if the child died."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError):  # a dead child is noticed below
        child.stdin.write(job.model_dump_json() + "\n")
        child.stdin.flush()
    for line in child.stdout:
        answer: dict[str, Any] = json.loads(line)
        if "progress" not in answer:
            return answer
        report(*answer["progress"])
    return {}


@contextmanager
def _child(log: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The worker. Its stdin stays open while it is wanted: it ends when that closes."""
    child = subprocess.Popen(
        WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        for pipe in filter(None, (child.stdin, child.stdout)):
            with suppress(OSError):  # what it never read cannot be flushed
                pipe.close()
        child.wait()


@contextmanager
def _logged(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("wb") as log:
            yield log
    except EngineError as error:
        hints = filter(None, (error.hint, f"the builder's log is {path}"))
        raise EngineError(
            error.what, wanted=error.wanted, found=error.found, hint="; ".join(hints)
        ) from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    path.unlink()
