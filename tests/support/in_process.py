"""`ProcessRunner` without a process: a test's patches hold, and a run can be interrupted."""

import signal
from pathlib import Path
from typing import Any

from lorair.benchmarks.schema.latency import Memory
from lorair.benchmarks.timing.runner import Opens


class InProcess:
    """Opens what it is given, and restores by waiting for nothing.

    stop: what is raised at the run of that number, counted over all runners; None for never.
    """

    stop: tuple[int, signal.Signals] | None = None
    runs = 0

    def __init__(self, spec: Opens) -> None:
        self._runner: Any = spec.runner()
        self.name, self.description = self._runner.name, self._runner.description
        self.batch = self._runner.batch

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, source: Path, target: Path) -> dict[str, float]:
        InProcess.runs += 1
        if self.stop is not None and InProcess.runs == self.stop[0]:
            signal.raise_signal(self.stop[1])
        seconds: dict[str, float] = self._runner.run(source, target)
        return seconds

    def peak_memory(self) -> Memory:
        return Memory()
