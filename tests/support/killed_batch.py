"""Run a batch, kill it at random moments, again and again; then let it finish.

`killed_batch.py FOLDER OUTPUT LOG KILLS`: with a restorer that inverts. A child is forked
for each run, so that starting one is cheap. LOG gets a line for each picture that is begun:
whether its result was there already.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lorair.runtime import images
from lorair.runtime.folders import plan as tasks
from lorair.runtime.folders import run as batch
from lorair.runtime.folders.guidance import Guidance
from lorair.runtime.routing.route import Route

_SLOW = 0.002


class Inverter:
    """Stands in for a Restorer."""

    backend = SimpleNamespace(load_restorer=lambda gates: None)

    def route(self, pixels: Any) -> Route:
        import numpy as np

        return Route(np.ones(1), np.ones(1), np.ones(1), ("only",))

    def restore(self, pixels: Any, route: Route | None, *_: Any, **__: Any) -> Any:
        time.sleep(_SLOW)
        made = route or self.route(pixels)
        return SimpleNamespace(image=255 - pixels, route=made, seconds={}, tile=None)


def run(folder: Path, output: Path, log: int) -> None:
    """All that is left to do."""
    planned = tasks.plan([folder], output).tasks
    write = images.write

    def logged(path: Path, *what: Any) -> tuple[str, ...]:
        os.write(log, f"{path.name} {path.exists()}\n".encode())
        return write(path, *what)

    images.write = logged  # type: ignore[assignment]
    guide = Guidance(
        Inverter(),  # type: ignore[arg-type]
        [task.source for task in planned],
        lambda path: images.read(path).pixels,
    )
    done = batch.FolderRun(planned, skip_existing=True)
    for _ in done.run(Inverter(), guide, 2):  # type: ignore[arg-type]
        pass


def wait_for(log: int, lines: int) -> None:
    """Until so many more pictures are begun: a kill before that would test nothing."""
    wanted = os.fstat(log).st_size + lines * len("p000.restored.png False\n")
    limit = time.monotonic() + 60
    while os.fstat(log).st_size < wanted and time.monotonic() < limit:
        time.sleep(0.0005)


def main() -> None:
    folder, output, log_path, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    chance = random.Random(7)
    for left in range(int(kills), -1, -1):
        child = os.fork()
        if child == 0:
            run(folder, output, log)
            os._exit(0)
        if left:
            wait_for(log, chance.randint(1, 5))
            time.sleep(chance.uniform(0, 2 * _SLOW))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
