"""What runs in each actor: pictures from their places to their places."""

import pickle
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorair.runtime.cluster.places import is_current, source_file, target_file
from lorair.runtime.errors import LorairError, as_lorair_error
from lorair.runtime.files import Handling, RestoredFile, restore_file
from lorair.runtime.folders.guidance import Every
from lorair.runtime.folders.plan import Task
from lorair.runtime.folders.run import Outcome, Status
from lorair.runtime.routing.gates import Gates
from lorair.runtime.routing.route import Route

if TYPE_CHECKING:
    from lorair.runtime.pixels import Pixels
    from lorair.runtime.restorer import Restorer

INDEX = "index"


@dataclass(frozen=True, eq=False)
class Assignment:
    """What every actor is told.

    tasks: of the whole run: a picture's route may depend on others. skip: whether results
    that are current stay. is_remote: whether names are URIs. The rest: as for `Restorer.open`
    and `Guidance`.
    """

    tasks: list[Task[str]]
    bundle: str
    backend: str
    threads: int
    handling: Handling
    skip: bool
    is_remote: bool
    given: Route | None = None
    every: Every = "each"
    gates: Gates | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """An outcome on its way from an actor, as a row of a dataset.

    is_fatal: whether it would be every picture's error, as the bundle's that cannot be opened.
    """

    index: int
    outcome: Outcome[str]
    is_fatal: bool = False

    def to_columns(self) -> dict[str, Any]:
        """As columns of a dataset."""
        return {INDEX: self.index, "row": pickle.dumps(self)}

    @staticmethod
    def of_columns(columns: dict[str, Any]) -> "Row":
        """The row of `to_columns`."""
        row: Row = pickle.loads(columns["row"])
        return row


class RestoreFiles:
    """A Ray Data actor: one restorer, one picture at a time.

    Args:
        work: a reference to an `Assignment` in Ray's object store.
    """

    def __init__(self, work: Any) -> None:
        import ray

        self._work: Assignment = ray.get(work)
        self._fatal: LorairError | None = None
        try:
            self._restorer = self._open()
        except Exception as error:  # an actor that cannot begin would be begun for ever
            self._fatal = as_lorair_error(error, f"cannot open {self._work.bundle}")

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Columns `index` -> columns of `Row.to_columns`."""
        rows = [self._row(int(index)).to_columns() for index in batch[INDEX]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _open(self) -> "Restorer":
        from lorair.runtime.folders.guidance import Guidance
        from lorair.runtime.restorer import Restorer

        work = self._work
        restorer = Restorer.open(work.bundle, work.backend, work.threads)
        sources = [task.source for task in work.tasks]
        self._guidance = Guidance(restorer, sources, self._read, work.given, work.every, work.gates)
        if len(sources) > 1:
            self._guidance.prepare()
        return restorer

    def _read(self, source: str) -> "Pixels":
        with source_file(source) as path:
            return self._work.handling.read(path).pixels

    def _row(self, index: int) -> Row:
        task = self._work.tasks[index]
        if self._fatal is not None:
            return Row(index, Outcome(task, Status.FAILED, error=self._fatal), is_fatal=True)
        if self._work.skip and is_current(task):
            # Here the driver has looked before: a killed actor has done it in this run.
            status = Status.SKIPPED if self._work.is_remote else Status.RESTORED
            return Row(index, Outcome(task, status))
        try:
            return Row(index, Outcome(task, Status.RESTORED, self._restore(index, task)))
        except Exception as error:  # one bad picture, whatever is bad about it, ends nothing
            failure = as_lorair_error(error, f"cannot restore {task.source}")
            return Row(index, Outcome(task, Status.FAILED, error=failure))

    def _restore(self, index: int, task: Task[str]) -> RestoredFile:
        with ExitStack() as stack:
            source = stack.enter_context(source_file(task.source))
            target = stack.enter_context(target_file(task.target))
            comparison = stack.enter_context(target_file(task.comparison))
            assert target is not None
            return restore_file(
                self._restorer,
                source,
                target,
                lambda pixels: self._guidance.choose(index, pixels),
                self._work.handling,
                comparison=comparison,
            )
