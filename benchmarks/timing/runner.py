"""Run what is timed, each backend in a process of its own.

The idle threads, arenas and caches of a backend then disturb no other, and each peak of
memory is that of one backend. The parent decides which of them runs.
"""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from lorair.benchmarks.schema import nvml
from lorair.benchmarks.schema.latency import Memory
from lorair.runtime import images
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import InternalError, LorairError, as_lorair_error
from lorair.runtime.restorer import Restorer
from lorair.runtime.routing.route import Route
from lorair.runtime.system.extras import require
from lorair.runtime.system.machine import peak_memory

TORCH_EAGER: Final = "torch-eager"


@dataclass(frozen=True)
class Spec:
    """A backend to time, as `--backend` takes it, or `torch-eager`.

    ir, router: weights for torch-eager; None for random ones of the same shapes. reuse_route:
    whether only the first picture is routed, and the others take its route. batch: pictures at
    once.
    """

    bundle: Path
    backend: str
    threads: int | None = None
    ir: Path | None = None
    router: Path | None = None
    reuse_route: bool = False
    batch: int = 1

    def runner(self) -> "Runner":
        """Open the runner in this process. Raises what `open` raises, and BackendError."""
        if self.batch == 1:
            return LocalRunner(self.open(), reuse_route=self.reuse_route)
        from lorair.benchmarks.timing.batch import BatchRunner

        return BatchRunner(self.open(), self.batch, reuse_route=self.reuse_route)

    def open(self) -> Restorer:
        """Open the restorer in this process. Raises what `Restorer.open` raises."""
        if self.backend != TORCH_EAGER:
            return Restorer.open(self.bundle, self.backend, self.threads)
        require("time torch-eager", "export", "torch", "safetensors")
        from lorair.benchmarks.timing.torch_eager import TorchEagerBackend, load_weights

        bundle = Bundle.open(self.bundle)
        weights = load_weights(bundle.manifest.model, self.ir, self.router)
        return Restorer(bundle, TorchEagerBackend(weights, self.threads))


class Runner:
    """Something that restores a file and says how long each stage took.

    name: of the backend; `auto` is resolved. description: library, version, device and
    threads. batch: pictures in one run. spec: where it runs in a process of its own.
    """

    name: str
    description: str
    batch = 1
    spec: Spec | None = None

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Restore one file; return the seconds of each stage, and of `cpu`, over all threads."""
        raise NotImplementedError

    def peak_memory(self) -> Memory:
        """Return the most RAM held so far, and the memory held on GPUs now, by this process."""
        return Memory(host=peak_memory(), device=nvml.process_memory(os.getpid()))


class LocalRunner(Runner):
    """A restorer in this process."""

    def __init__(self, restorer: Restorer, *, reuse_route: bool = False) -> None:
        self.name, self.description = restorer.backend.name, restorer.backend.description
        restorer.unchanged = ()  # the network is what is timed
        self.restorer, self.reuse_route = restorer, reuse_route
        self._route: Route | None = None

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Restore one file; return the seconds of each stage."""
        cpu, start = time.process_time(), time.perf_counter()
        picture = images.read(source)
        decoded = time.perf_counter() - start
        restored = self.restorer.restore(picture.pixels, self._route)
        if self.reuse_route:
            self._route = restored.route
        start = time.perf_counter()
        images.write(target, picture.with_pixels(restored.image))
        encoded = time.perf_counter() - start
        stages = {"decode": decoded, **restored.seconds, "encode": encoded}
        return {**stages, "cpu": time.process_time() - cpu}


class ProcessRunner(Runner):
    """A runner in a child process, which ends with the block."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, spec), daemon=True)
        self._process.start()
        theirs.close()
        self.name, self.description, self.batch = self._receive()

    def __enter__(self) -> "ProcessRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Restore one file; return the seconds of each stage."""
        seconds: dict[str, float] = self._ask((source, target))
        return seconds

    def peak_memory(self) -> Memory:
        """Return the peak of the child."""
        peak: Memory = self._ask(None)
        return peak

    def _ask(self, task: tuple[Path, Path] | None) -> Any:
        # A dead child is noticed, and explained, where its answer is awaited.
        with suppress(OSError):
            self._connection.send(task)
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise InternalError(
                "a backend's process ended while it was timed",
                found=f"exit code {self._process.exitcode}",
                hint="if memory ran out, time smaller pictures",
            ) from None
        if isinstance(answer, LorairError):
            raise answer
        return answer


def _serve(connection: Connection, spec: Spec) -> None:
    """Answer, in the child, until the parent closes the connection."""
    # Ctrl-C reaches the whole process group; it is the parent that ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runner = spec.runner()
        connection.send((runner.name, runner.description, runner.batch))
        while True:
            task = connection.recv()
            connection.send(runner.peak_memory() if task is None else runner.run(*task))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # the parent says what became of it
        connection.send(as_lorair_error(error, f"cannot time {spec.backend}"))
