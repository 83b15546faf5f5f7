"""`ProcessRunner` without a process: a test's patches hold, and a run can be interrupted."""

from pathlib import Path

from lorair.benchmarks.schema.latency import Memory
from lorair.benchmarks.timing.runner import Spec


class InProcess:
    """Opens what it is given, and restores by waiting for nothing.

    stop: the run, counted over all runners, at which that is raised; None for never.
    """

    stop: tuple[int, BaseException] | None = None
    runs = 0

    def __init__(self, spec: Spec) -> None:
        self.spec, self._runner = spec, spec.runner()
        self.name, self.description = self._runner.name, self._runner.description
        self.batch = self._runner.batch

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, source: Path, target: Path) -> dict[str, float]:
        InProcess.runs += 1
        if self.stop is not None and InProcess.runs == self.stop[0]:
            raise self.stop[1]
        return self._runner.run(source, target)

    def peak_memory(self) -> Memory:
        return Memory()
