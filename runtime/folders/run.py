"""Many pictures, from files to files: decoded, restored and encoded at the same time.

Each thread takes a picture through all its stages; while one waits for a disk or for the
GPU, others compute. A bad picture ends only itself, a full disk ends all.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from lorair.runtime.errors import DiskFullError, LorairError, as_lorair_error
from lorair.runtime.files import Handling, RestoredFile, restore_file
from lorair.runtime.folders.guidance import Guidance
from lorair.runtime.folders.plan import Task
from lorair.runtime.system.atomic import remove_partials
from lorair.runtime.system.ordered import in_order
from lorair.runtime.tiles import Progress

if TYPE_CHECKING:
    from lorair.runtime.restorer import Restorer

_AHEAD: Final = 8
"""Finished pictures that may wait for a slow one before them, a job: they hold no pixels."""


class Status(StrEnum):
    """What became of a picture."""

    RESTORED = "restored"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_DONE = "not done"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a task: `result` if it is restored, `error` if it failed."""

    task: Task
    status: Status
    result: RestoredFile | None = None
    error: LorairError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        entry: dict[str, Any] = {"input": str(self.task.source), "status": str(self.status)}
        if self.result is not None:
            return {**entry, **self.result.to_dict()}
        if self.error is not None:
            return {**entry, "error": self.error.line()}
        return {**entry, "output": str(self.task.target)}


class Batch:
    """A run over tasks.

    Args:
        tasks: in the order in which outcomes are reported.
        skip_existing: whether results that are there, and no older than their picture, stay.
        handling: of every picture.
    """

    def __init__(
        self,
        tasks: list[Task],
        *,
        skip_existing: bool,
        handling: Handling = Handling(),  # noqa: B008  (frozen)
    ) -> None:
        self._handling = handling
        self.outcomes = [Outcome(task, Status.NOT_DONE) for task in tasks]
        self._stop = Event()
        for index, task in enumerate(tasks):
            if skip_existing and is_current(task):
                self.outcomes[index] = Outcome(task, Status.SKIPPED)
        self.pending = [i for i, o in enumerate(self.outcomes) if o.status is Status.NOT_DONE]

    def run(
        self,
        restorer: "Restorer",
        guidance: Guidance,
        jobs: int,
        progress: Progress | None = None,
    ) -> Generator[Outcome, None, None]:
        """Do what is pending; `outcomes` has all of them, also after an interruption.

        Closing the iterator lets each stage that is running end and drops what follows.
        """
        if not self.pending:
            return
        remove_partials(
            file for index in self.pending for file in self.outcomes[index].task.written
        )
        if len(self.outcomes) > 1:
            guidance.prepare()
        work = partial(self._work, restorer, guidance, self._between_tiles(progress))
        yield from in_order(work, self.pending, jobs, jobs * _AHEAD, self._stop)

    def count(self, status: Status) -> int:
        """How many pictures have come to it."""
        return sum(outcome.status is status for outcome in self.outcomes)

    @property
    def counts(self) -> dict[str, int]:
        """`count` of every status, by its name."""
        return {str(status): self.count(status) for status in Status}

    @property
    def errors(self) -> list[LorairError]:
        """Of the pictures that failed, in order."""
        return [outcome.error for outcome in self.outcomes if outcome.error is not None]

    def _work(
        self, restorer: "Restorer", guidance: Guidance, progress: Progress, index: int
    ) -> Outcome:
        task = self.outcomes[index].task
        try:
            self._go_on()
            result = restore_file(
                restorer,
                task.source,
                task.target,
                partial(guidance.choose, index),
                self._handling,
                comparison=task.comparison,
                go_on=self._go_on,
                progress=progress,
            )
            outcome = Outcome(task, Status.RESTORED, result)
        except _StoppedError:
            return self.outcomes[index]
        except Exception as error:  # one bad picture, whatever is bad about it, ends nothing
            failure = as_lorair_error(error, f"cannot restore {task.source}")
            outcome = Outcome(task, Status.FAILED, error=failure)
            if isinstance(failure, DiskFullError):
                self._stop.set()
        self.outcomes[index] = outcome
        return outcome

    def _between_tiles(self, progress: Progress | None) -> Progress:
        def report(done: float, what: str) -> None:
            self._go_on()
            if progress is not None:
                progress(done, what)

        return report

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _StoppedError


class _StoppedError(Exception):
    """The run ends; it never leaves this file."""


def is_current(task: Task) -> bool:
    """Whether the result is there, and no older than its picture."""
    try:
        source = task.source.stat()
        found = [file.stat() for file in task.written]
    except OSError:
        return False
    return all(f.st_size > 0 and f.st_mtime_ns >= source.st_mtime_ns for f in found)
