"""Many pictures, from files to files: decoded, restored and encoded at the same time.

Each thread takes a picture through all its stages; while one waits for a disk or for the
GPU, others compute. A bad picture ends only itself, a full disk ends all.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Generic

from lorair.runtime.errors import DiskFullError, LorairError, as_lorair_error
from lorair.runtime.files import Handling, RestoredFile, restore_file
from lorair.runtime.folders.guidance import Guidance
from lorair.runtime.folders.plan import Place, Task
from lorair.runtime.system.atomic import remove_partials
from lorair.runtime.system.ordered import in_order

if TYPE_CHECKING:
    from lorair.runtime.restorer import Restorer

Progress = Callable[[int, float, str], None]
"""Takes a picture's place among the outcomes, the fraction done of it, and what was done."""

_AHEAD: Final = 8
"""Finished pictures that may wait for a slow one before them, a job: they hold no pixels."""


class Status(StrEnum):
    """What became of a picture."""

    RESTORED = "restored"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_DONE = "not done"


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Place]):
    """What became of a task: `result` if it is restored, `error` if it failed."""

    task: Task[Place]
    status: Status
    result: RestoredFile | None = None
    error: LorairError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        task, restored = self.task, self.result
        names = {"input": str(task.source), "status": str(self.status)}
        if self.error is not None:
            return {**names, "error": self.error.line()}
        written = {"output": str(task.target)}
        if restored is not None and task.comparison is not None:
            written["compare"] = str(task.comparison)
        return {**names, **({} if restored is None else restored.to_dict()), **names, **written}


class Outcomes(Generic[Place]):
    """All tasks of a run, and what has become of each so far.

    Args:
        tasks: in the order in which they are reported.
        is_done: whether a task's results are there already, so that it is skipped.
    """

    def __init__(
        self, tasks: Sequence[Task[Place]], is_done: Callable[[Task[Place]], bool]
    ) -> None:
        self.outcomes: list[Outcome[Place]] = [
            Outcome(task, Status.SKIPPED if is_done(task) else Status.NOT_DONE) for task in tasks
        ]

    @property
    def pending(self) -> list[int]:
        """The tasks that nothing has become of yet, by their number."""
        return [i for i, o in enumerate(self.outcomes) if o.status is Status.NOT_DONE]

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures have come to each status, by its name."""
        found = [outcome.status for outcome in self.outcomes]
        return {str(status): found.count(status) for status in Status}

    @property
    def errors(self) -> list[LorairError]:
        """The errors of the pictures that failed, in order."""
        return [outcome.error for outcome in self.outcomes if outcome.error is not None]


class FolderRun(Outcomes[Path]):
    """A run over files, in threads of this process.

    Args:
        tasks: in the order in which outcomes are reported.
        skip_existing: whether results that are there, and no older than their picture, stay.
        handling: of every picture.
    """

    def __init__(
        self,
        tasks: Sequence[Task[Path]],
        *,
        skip_existing: bool,
        handling: Handling = Handling(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__(tasks, lambda task: skip_existing and is_current(task))
        self._handling = handling
        self._stop = Event()

    def run(
        self, restorer: "Restorer", guidance: Guidance, jobs: int, progress: Progress | None = None
    ) -> Generator[Outcome[Path], None, None]:
        """Do what is pending; `outcomes` has all of them, also after an interruption.

        `progress` is called after each tile, in the picture's thread.

        Closing the iterator lets each stage that is running end and drops what follows.
        """
        pending = self.pending
        remove_partials(file for index in pending for file in self.outcomes[index].task.written)
        if pending and len(self.outcomes) > 1:
            guidance.prepare()
        work = partial(self._work, restorer, guidance, progress)
        return in_order(work, pending, jobs, jobs * _AHEAD, self._stop)

    def _work(
        self, restorer: "Restorer", guidance: Guidance, progress: Progress | None, index: int
    ) -> Outcome[Path]:
        task: Task[Path] = self.outcomes[index].task
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
                progress=self._between_tiles(progress, index),
            )
            outcome = Outcome(task, Status.RESTORED, result)
        except _StoppedError:
            return Outcome(task, Status.NOT_DONE)
        except Exception as error:  # one bad picture, whatever is bad about it, ends nothing
            failure = as_lorair_error(error, f"cannot restore {task.source}")
            outcome = Outcome(task, Status.FAILED, error=failure)
            if isinstance(failure, DiskFullError):
                self._stop.set()
        self.outcomes[index] = outcome
        return outcome

    def _between_tiles(self, progress: Progress | None, index: int) -> Callable[[float, str], None]:
        def report(done: float, what: str) -> None:
            self._go_on()
            if progress is not None:
                progress(index, done, what)

        return report

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _StoppedError


class _StoppedError(Exception):
    """The run ends; it never leaves this file."""


def is_current(task: Task[Path]) -> bool:
    """Whether the result is there, and no older than its picture."""
    try:
        source = task.source.stat()
        found = [file.stat() for file in task.written]
    except OSError:
        return False
    return all(f.st_size > 0 and f.st_mtime_ns >= source.st_mtime_ns for f in found)
