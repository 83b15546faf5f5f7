"""A run over pictures on Ray Data: what is pending goes to a pool of actors, outcomes come back."""

import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from lorair.runtime.cluster.places import is_current
from lorair.runtime.cluster.pool import Pool
from lorair.runtime.cluster.restoring import INDEX, Assignment, RestoreFiles, Row
from lorair.runtime.errors import DiskFullError, InternalError
from lorair.runtime.folders.run import Outcome, Outcomes, Status
from lorair.runtime.system.atomic import remove_partials

_TASKS_AN_ACTOR: Final = 16
_MOST_PICTURES_A_TASK: Final = 16
"""Few enough that actors end together and a killed one's task is soon repeated."""
_RETRIES: Final = 3
"""Of a task whose actor died. A picture that kills every actor must not end the run."""


class RayRun(Outcomes[str]):
    """A run on Ray.

    Args:
        work: all of it.
    """

    def __init__(self, work: Assignment) -> None:
        # Of remote results the actors ask: each answer takes a while.
        super().__init__(
            work.tasks, lambda task: work.skip and not work.is_remote and is_current(task)
        )
        self.work = work

    def run(self, pool: Pool) -> Generator[Outcome[str], None, None]:
        """Do what is pending with a pool; yield outcomes as their tasks end, in any order.

        Raises LorairError: no actor could begin.
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

    def _round(self, pool: Pool, work: Any, pictures_a_task: int) -> Iterator[Outcome[str]]:
        pending = self.pending
        if not pending:
            return
        for row in _dataset(pending, work, pool, pictures_a_task).iter_rows():
            found = Row.of_columns(row)
            error = found.outcome.error
            if found.is_fatal and error is not None:
                raise error
            yield self._keep(found.index, found.outcome)
            if isinstance(error, DiskFullError):
                raise _FullError

    def _give_up(self) -> Iterator[Outcome[str]]:
        for index in self.pending:
            task = self.work.tasks[index]
            error = InternalError(
                f"cannot restore {task.source}",
                found=f"a process that died, {_RETRIES + 1} times",
                hint="memory may be too small: use fewer actors, or --tile",
            )
            yield self._keep(index, Outcome(task, Status.FAILED, error=error))

    def _keep(self, index: int, outcome: Outcome[str]) -> Outcome[str]:
        self.outcomes[index] = outcome
        return outcome

    def _remove_partials(self) -> None:
        """What killed actors left."""
        if not self.work.is_remote:
            names = (name for task in self.work.tasks for name in task.written)
            remove_partials(Path(name) for name in names)


class _FullError(Exception):
    """No space is left; it never leaves this file."""


def _dataset(indices: Sequence[int], work: Any, pool: Pool, pictures_a_task: int) -> Any:
    """A Ray Dataset of rows."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # what has no outcome is looked after by the run
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
