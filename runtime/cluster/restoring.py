"""What runs in each actor: pictures from their places to their places."""

import json
import pickle
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorair.runtime.cluster.places import Item, is_current, source_file, target_file
from lorair.runtime.errors import LorairError, as_lorair_error
from lorair.runtime.files import Handling
from lorair.runtime.folders.guidance import Every
from lorair.runtime.folders.run import Status
from lorair.runtime.routing.gates import Gates
from lorair.runtime.routing.route import Route

if TYPE_CHECKING:
    from lorair.runtime.pixels import Pixels
    from lorair.runtime.restorer import Restorer

INDEX = "index"


@dataclass(frozen=True, eq=False)
class Work:
    """What every actor is told.

    items: of the whole run: a picture's route may depend on others. skip: whether results
    that are current stay. is_remote: whether names are URIs. The rest: as for `Restorer.open`
    and `Guidance`.
    """

    items: list[Item]
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
class Record:
    """What became of a picture.

    entry: of the report, as `batch.Outcome.to_dict` has it. is_fatal: whether it would be
    every picture's error, as the bundle's that cannot be opened.
    """

    index: int
    status: Status
    entry: dict[str, Any]
    error: LorairError | None = None
    is_fatal: bool = False

    def to_row(self) -> dict[str, Any]:
        """As columns of a dataset."""
        return {
            INDEX: self.index,
            "status": str(self.status),
            "entry": json.dumps(self.entry),
            "error": b"" if self.error is None else pickle.dumps(self.error),
            "is_fatal": self.is_fatal,
        }

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Record":
        """Of `to_row`."""
        error = pickle.loads(row["error"]) if row["error"] else None
        status = Status(row["status"])
        return cls(int(row[INDEX]), status, json.loads(row["entry"]), error, bool(row["is_fatal"]))


class RestoreFiles:
    """A Ray Data actor: one restorer, one picture at a time.

    Args:
        work: a reference to a `Work` in Ray's object store.
    """

    def __init__(self, work: Any) -> None:
        import ray

        self._work: Work = ray.get(work)
        self._fatal: LorairError | None = None
        try:
            self._restorer = self._open()
        except Exception as error:  # an actor that cannot begin would be begun for ever
            self._fatal = as_lorair_error(error, f"cannot open {self._work.bundle}")

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Columns `index` -> columns of `Record.to_row`."""
        rows = [self._record(int(index)).to_row() for index in batch[INDEX]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _open(self) -> "Restorer":
        from lorair.runtime.folders.guidance import Guidance
        from lorair.runtime.restorer import Restorer

        work = self._work
        restorer = Restorer.open(work.bundle, work.backend, work.threads)
        sources = [item.source for item in work.items]
        self._guidance = Guidance(restorer, sources, self._read, work.given, work.every, work.gates)
        if len(sources) > 1:
            self._guidance.prepare()
        return restorer

    def _read(self, source: str) -> "Pixels":
        from lorair.runtime.files import read

        with source_file(source) as path:
            return read(path, self._work.handling.max_pixels).pixels

    def _record(self, index: int) -> Record:
        item = self._work.items[index]
        if self._fatal is not None:
            return failed(index, item, self._fatal, is_fatal=True)
        if self._work.skip and is_current(item):
            # Here the driver has looked before: a killed actor has done it in this run.
            status = Status.SKIPPED if self._work.is_remote else Status.RESTORED
            return Record(index, status, entry_of(item, status))
        try:
            return Record(index, Status.RESTORED, self._restore(index, item))
        except Exception as error:  # one bad picture, whatever is bad about it, ends nothing
            return failed(index, item, as_lorair_error(error, f"cannot restore {item.source}"))

    def _restore(self, index: int, item: Item) -> dict[str, Any]:
        from lorair.runtime.files import restore_file

        with ExitStack() as stack:
            source = stack.enter_context(source_file(item.source))
            target = stack.enter_context(target_file(item.target))
            comparison = stack.enter_context(target_file(item.comparison))
            assert target is not None
            result = restore_file(
                self._restorer,
                source,
                target,
                lambda pixels: self._guidance.choose(index, pixels),
                self._work.handling,
                comparison=comparison,
            )
        return {**entry_of(item, Status.RESTORED), **result.to_dict(), **_names(item)}


def failed(index: int, item: Item, error: LorairError, *, is_fatal: bool = False) -> Record:
    """The record of a picture that failed."""
    entry = {"input": item.source, "status": str(Status.FAILED), "error": error.line()}
    return Record(index, Status.FAILED, entry, error, is_fatal)


def entry_of(item: Item, status: Status) -> dict[str, Any]:
    """A report's entry without details."""
    return {"input": item.source, "status": str(status), "output": item.target}


def _names(item: Item) -> dict[str, str]:
    compared = {} if item.comparison is None else {"compare": item.comparison}
    return {"input": item.source, "output": item.target, **compared}
