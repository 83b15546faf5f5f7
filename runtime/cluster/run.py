"""A run over pictures on Ray Data: what is pending goes to a pool of actors, records come back."""

import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from lorair.runtime.cluster.places import is_current
from lorair.runtime.cluster.pool import Pool
from lorair.runtime.cluster.restoring import (
    INDEX,
    Record,
    RestoreFiles,
    Work,
    entry_of,
    failed,
)
from lorair.runtime.errors import DiskFullError, InternalError, LorairError
from lorair.runtime.folders.run import Status
from lorair.runtime.system.atomic import remove_partials

_TASKS_AN_ACTOR: Final = 16
_MOST_PICTURES_A_TASK: Final = 16
"""Few enough that actors end together and a killed one's task is soon repeated."""
_RETRIES: Final = 3
"""Of a task whose actor died. A picture that kills every actor must not end the run."""


class Run:
    """What is to be done, and what became of it.

    Args:
        work: all of it.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.records = [
            Record(i, Status.NOT_DONE, entry_of(item, Status.NOT_DONE))
            for i, item in enumerate(work.items)
        ]
        if work.skip and not work.is_remote:  # there, actors ask: each answer takes a while
            for record in self.records:
                if is_current(work.items[record.index]):
                    entry = entry_of(work.items[record.index], Status.SKIPPED)
                    self._keep(Record(record.index, Status.SKIPPED, entry))

    @property
    def pending(self) -> list[int]:
        """Pictures that nothing has become of yet."""
        return [r.index for r in self.records if r.status is Status.NOT_DONE]

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures have come to each status, by its name."""
        found = [record.status for record in self.records]
        return {str(status): found.count(status) for status in Status}

    @property
    def errors(self) -> list[LorairError]:
        """Of the pictures that failed, in order."""
        return [record.error for record in self.records if record.error is not None]

    def run(self, pool: Pool) -> Generator[Record, None, None]:
        """Do what is pending; records come as their tasks end, in any order.

        Args:
            pool: that does it.

        Raises:
            LorairError: no actor could begin.
        """
        import ray

        self._remove_partials()
        try:
            work = ray.put(self.work)
            yield from self._round(pool, work, self._pictures_a_task(pool))
            # Who shared a task with a picture that kills its actors is not to blame.
            yield from self._round(pool, work, 1)
            yield from self._give_up()
        except _FullError:
            return
        except ray.exceptions.RayError as error:
            raise InternalError(
                "Ray failed",
                found=f"{type(error).__name__}: {str(error)[:200]}",
                hint="the same command goes on where it ended",
            ) from error
        finally:
            self._remove_partials()

    def _pictures_a_task(self, pool: Pool) -> int:
        tasks = pool.actors * _TASKS_AN_ACTOR
        return min(_MOST_PICTURES_A_TASK, -(-len(self.pending) // tasks))

    def _round(self, pool: Pool, work: Any, pictures_a_task: int) -> Iterator[Record]:
        pending = self.pending
        if not pending:
            return
        for row in _dataset(pending, work, pool, pictures_a_task).iter_rows():
            record = Record.of_row(row)
            if record.is_fatal and record.error is not None:
                raise record.error
            yield self._keep(record)
            if isinstance(record.error, DiskFullError):
                raise _FullError

    def _give_up(self) -> Iterator[Record]:
        for index in self.pending:
            item = self.work.items[index]
            error = InternalError(
                f"cannot restore {item.source}",
                found=f"a process that died, {_RETRIES + 1} times",
                hint="memory may be too small: use fewer actors, or --tile",
            )
            yield self._keep(failed(index, item, error))

    def _keep(self, record: Record) -> Record:
        self.records[record.index] = record
        return record

    def _remove_partials(self) -> None:
        """What killed actors left."""
        if not self.work.is_remote:
            names = (name for item in self.work.items for name in item.written)
            remove_partials(Path(name) for name in names)


class _FullError(Exception):
    """No space is left; it never leaves this file."""


def _dataset(indices: Sequence[int], work: Any, pool: Pool, pictures_a_task: int) -> Any:
    """A Ray Dataset of records."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # what has no record is looked after by the run
    context.execution_no_progress_timeout_s = -1  # tasks of large pictures are slow
    blocks = -(-len(indices) // pictures_a_task)
    rows = ray.data.from_items([{INDEX: index} for index in indices], override_num_blocks=blocks)
    with warnings.catch_warnings():
        # Restarts and retries are not named parameters; Ray drops others in 2.64.
        warnings.simplefilter("ignore")
        return rows.map_batches(
            RestoreFiles,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=pool.actors),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
