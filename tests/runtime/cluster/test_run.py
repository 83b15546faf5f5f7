"""A run's bookkeeping, with actors in this process in the place of Ray's."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from noise_files import pictures

ray = pytest.importorskip("ray")

from lorair.runtime import images  # noqa: E402
from lorair.runtime.bundle.manifest import Bundle  # noqa: E402
from lorair.runtime.cluster import run as module  # noqa: E402
from lorair.runtime.cluster.places import plan  # noqa: E402
from lorair.runtime.cluster.pool import Pool, memory_of  # noqa: E402
from lorair.runtime.cluster.restoring import Assignment, RestoreFiles, Row  # noqa: E402
from lorair.runtime.cluster.session import Resources  # noqa: E402
from lorair.runtime.errors import BundleError, DiskFullError, InternalError, OptionError  # noqa: E402
from lorair.runtime.files import Handling  # noqa: E402
from lorair.runtime.folders.run import Status  # noqa: E402

POOL = Pool(actors=1, cpus=1, gpus=0)
GIGABYTE = 10**9


class Rows:
    """A dataset's: pictures a task as Ray would give them, some tasks lost."""

    def __init__(self, actor: RestoreFiles, indices: Sequence[int], size: int, dies: Any) -> None:
        self._actor, self._dies = actor, dies
        self._tasks = [indices[i : i + size] for i in range(0, len(indices), size)]

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        for task in self._tasks:
            if any(map(self._dies, task)):
                continue
            columns = self._actor({"index": np.array(task)})
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Lets a run use `Rows`; a test adds the pictures that kill their actors."""
    deadly: set[int] = set()

    def rows(indices: Sequence[int], work: Any, pool: Pool, size: int) -> Rows:
        return Rows(RestoreFiles(work), indices, size, deadly.__contains__)

    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(module, "_dataset", rows)
    return deadly


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pictures(tmp_path / "in", 20, side=24)


def work_of(bundle: Path, folder: Path, *, remote: bool = False) -> Assignment:
    """From the folder into `out` beside it."""
    places = [path.as_uri() if remote else str(path) for path in (folder, folder.parent / "out")]
    items = plan(places[:1], places[1], encoding=images.Encoding()).tasks
    return Assignment(items, str(bundle), "onnxruntime", 1, Handling(), True, remote)


@pytest.fixture
def work(tiny_bundle: Path, folder: Path) -> Assignment:
    return work_of(tiny_bundle, folder)


def test_who_kills_its_actors_is_alone_to_blame(
    local: set[int], work: Assignment, folder: Path, tmp_path: Path
) -> None:
    local |= {3, 11}
    run = module.RayRun(work)
    names = [outcome.task.source for outcome in run.run(POOL)]
    assert sorted(names) == sorted(map(str, folder.iterdir())), "each one once"
    assert run.counts == {"restored": 18, "skipped": 0, "failed": 2, "not done": 0}
    assert [e.what[-8:] for e in run.errors] == ["p003.png", "p011.png"]
    assert "a process that died, 4 times" in run.errors[0].line()
    assert len(list((tmp_path / "out").iterdir())) == 18
    again = module.RayRun(work)
    assert again.pending == [3, 11]
    assert [again.outcomes[i].status for i in (0, 3)] == [Status.SKIPPED, Status.NOT_DONE]


def test_a_full_disk_ends_it(work: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    write = images.write

    def full(path: Path, *what: Any) -> Any:
        if path.name.startswith("p004"):
            raise DiskFullError(f"cannot write {path}", found="no space", hint="free some")
        return write(path, *what)

    monkeypatch.setattr(images, "write", full)
    run = module.RayRun(work)
    records = list(run.run(POOL))
    assert records[-1].error is not None
    assert run.counts["failed"] == 1
    assert run.counts["not done"] == 20 - len(records)


def test_a_bundle_that_no_actor_can_open(folder: Path, tmp_path: Path) -> None:
    run = module.RayRun(work_of(tmp_path / "none", folder))
    with pytest.raises(BundleError, match="no bundle at") as caught:
        list(run.run(POOL))
    assert caught.value.hint is not None, "a pickled error keeps its parts"


def test_a_ray_that_ends(work: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost:
        def iter_rows(self) -> Any:
            raise ray.exceptions.RaySystemError("the head is gone")

    monkeypatch.setattr(module, "_dataset", lambda *_: Lost())
    with pytest.raises(InternalError, match="the head is gone; the same command goes on"):
        list(module.RayRun(work).run(POOL))


def test_remote_errors_name_the_uri(tiny_bundle: Path, folder: Path) -> None:
    (folder / "p005.png").write_bytes(b"this is text")
    work = work_of(tiny_bundle, folder, remote=True)
    run = module.RayRun(work)
    entries = [outcome.to_dict() for outcome in run.run(POOL)]
    assert run.counts["restored"] == 19
    uri = (folder / "p005.png").as_uri()
    assert f"cannot read {uri}: wanted a picture" in run.errors[0].line()
    assert {entry["input"] for entry in entries} == {task.source for task in work.tasks}
    assert all("file://" in entry["output"] for entry in entries if "output" in entry)
    assert json.dumps(entries)
    again = list(module.RayRun(work).run(POOL))
    assert [record.status for record in again].count(Status.SKIPPED) == 19


def test_a_retried_task_repeats_nothing(work: Assignment, tmp_path: Path) -> None:
    actor = RestoreFiles(work)
    first = actor({"index": np.array([7])})
    target = tmp_path / "out" / "p007.restored.png"
    before = target.stat().st_mtime_ns
    second = actor({"index": np.array([7])})
    assert target.stat().st_mtime_ns == before
    found = [Row.of_columns({"row": rows["row"][0]}).outcome.status for rows in (first, second)]
    assert found == [Status.RESTORED, Status.RESTORED]


def test_how_many_actors_fit(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)

    def fitting(cpus: float, gpus: float, memory: float, *wishes: Any) -> int:
        return Pool.fitting(Resources(cpus, gpus, memory, 1, ""), *wishes, bundle).actors

    assert fitting(8, 0, 99 * GIGABYTE, None, 1, 0) == 8
    assert fitting(8, 0, 99 * GIGABYTE, None, 3, 0) == 2
    assert fitting(8, 2, 99 * GIGABYTE, None, 1, 0.5) == 4
    assert fitting(8, 0, 3 * memory_of(bundle), None, 1, 0) == 3
    assert fitting(8, 0, 1, None, 1, 0) == 1
    assert fitting(8, 0, 99 * GIGABYTE, 20, 1, 0) == 20, "who asks gets it"
    with pytest.raises(OptionError, match="at most 8 CPUs and 0 GPUs"):
        fitting(8, 0, 99 * GIGABYTE, None, 1, 1)
    with pytest.raises(OptionError, match="found 9 and 0"):
        fitting(8, 0, 99 * GIGABYTE, 1, 9, 0)
