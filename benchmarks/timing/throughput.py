"""Time a folder of pictures, with decoding, restoring and encoding overlapped.

What is timed is what `lorair-run infer` does: the same batch, file to file. Every number of
pictures at once has a restorer of its own; they take turns within each round.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from lorair.benchmarks.schema.costs import ThroughputRun
from lorair.runtime import images
from lorair.runtime.errors import PictureError
from lorair.runtime.folders import plan as tasks
from lorair.runtime.folders.guidance import Guidance
from lorair.runtime.folders.run import FolderRun
from lorair.runtime.restorer import Restorer

PARTS: Final = {"decode": "decoding", "encode": "encoding", "route": "routing",
                "views": "routing", "router": "routing"}  # fmt: skip
"""What a stage counts to when the bottleneck is named; all others are restoring."""


@dataclass
class Rounds:
    """The rounds of one number of pictures at once.

    seconds: of each round, all pictures together. cpu: processor time of each round, of all
    threads. stages: seconds of each part, summed over pictures and rounds.
    """

    jobs: int
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def to_run(self) -> ThroughputRun:
        """Return the result of the rounds so far; at least one."""
        stages = {part: spent / len(self.seconds) for part, spent in self.stages.items()}
        return ThroughputRun(
            jobs=self.jobs, seconds=tuple(self.seconds), cpu_seconds=tuple(self.cpu),
            stages=stages, bottleneck=max(stages, key=lambda part: stages[part]),
        )  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """Pictures that are restored in every round. megapixels: of all of them."""

    sources: tuple[Path, ...]
    megapixels: float

    @classmethod
    def of(cls, sources: Sequence[Path]) -> "Folder":
        """Read each picture once, so that all later reads come from the system's cache.

        Raises PictureError: one cannot be read.
        """
        shapes = [images.read(source).pixels.shape for source in sources]
        return cls(tuple(sources), sum(height * width for height, width, *_ in shapes) / 1e6)


def measure(
    restorers: Sequence[Restorer],
    folder: Folder,
    rounds: int,
    keep: list[Rounds],
    report: Callable[[float, str], None] = lambda done, what: None,
) -> None:
    """Restore the folder with each restorer in each round, after one that is not counted.

    restorers: of one bundle, each opened for another number of pictures at once. keep: gets the
    rounds of each restorer, and is filled as they end. report: takes the fraction done, and what is
    being done. Raises PictureError: a picture failed.
    """
    keep.extend(Rounds(restorer.jobs) for restorer in restorers)
    total = (rounds + 1) * len(restorers)
    for number in range(rounds + 1):
        # In a fixed order the later ones would always meet the same leftovers.
        pairs = list(zip(restorers, keep, strict=True))[:: -1 if number % 2 else 1]
        for place, (restorer, sweep) in enumerate(pairs):
            report((number * len(restorers) + place) / total, f"{sweep.jobs} at once")
            seconds, cpu, stages = _round(restorer, folder)
            if number > 0:
                sweep.seconds.append(seconds)
                sweep.cpu.append(cpu)
                for part, spent in stages.items():
                    sweep.stages[part] += spent


def _round(restorer: Restorer, folder: Folder) -> tuple[float, float, dict[str, float]]:
    stages: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory(prefix="lorair-bench-") as output:
        targets = (Path(output) / f"{index}.png" for index in count())
        planned = list(map(tasks.Task, folder.sources, targets))
        batch = FolderRun(planned, skip_existing=False)
        guidance = Guidance(restorer, list(folder.sources), lambda path: images.read(path).pixels)
        start, cpu = time.perf_counter(), time.process_time()
        for outcome in batch.run(restorer, guidance, restorer.jobs):
            if outcome.result is None:
                raise outcome.error or PictureError(f"cannot restore {outcome.task.source}")
            for stage, seconds in outcome.result.seconds.items():
                stages[PARTS.get(stage, "restoring")] += seconds
        return time.perf_counter() - start, time.process_time() - cpu, stages
