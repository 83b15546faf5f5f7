"""The child process that builds one engine: a job on stdin, JSON lines on what was stdout.

TensorRT may abort its process, print wherever it likes and run for minutes without a look
at signals. So it gets a process of its own, whose output goes to a log, and which ends when
its parent does. Run as `python -m lorair.exporter.engines.worker`.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict

from lorair.exporter.engines.proof import prove
from lorair.runtime.bundle.engines import Branch, Depends, Range
from lorair.runtime.errors import EngineError, LorairError
from lorair.runtime.gpu.engine_fit import MODULES
from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.machine import peak_memory


class Job(BaseModel):
    """One engine to build.

    depends: what the engine depends on. graph: ONNX without functions. model: the path that
    the graph's weights are named relative to. output: the file to write. plugin: the library
    of its plugins; None without any. timing_cache: a file of timings to use and update.
    """

    model_config = ConfigDict(frozen=True)

    depends: Depends
    graph: Path
    model: Path
    output: Path
    plugin: Path | None = None
    timing_cache: Path | None = None

    @property
    def library(self) -> str:
        """The module `tensorrt` or `tensorrt_rtx`."""
        return MODULES[self.depends.flavour]


def main() -> None:
    """Read a job, build, report: `progress` lines, then one of `done` or `error`."""
    # Ctrl-C reaches the whole process group; it is the parent that cancels.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    job = Job.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _send(answers, done=build(job, lambda part, phase: _send(answers, progress=[part, phase])))
    except LorairError as error:
        fields = {"what": error.what, "wanted": error.wanted, "found": error.found}
        _send(answers, error={**fields, "hint": error.hint})
        sys.exit(1)


def build(job: Job, report: Any) -> dict[str, Any]:
    """Parse, prove, build, write.

    Args:
        job: what to build.
        report: called with the fraction done and the name of the phase.

    Returns:
        proof (as plain values), seconds, peak_memory.

    Raises:
        EngineError: the library refuses the graph, or the precision is not the bundle's.
    """
    start = time.perf_counter()
    trt: Any = import_module(job.library)
    depends = job.depends
    builder = trt.Builder(trt.Logger(trt.Logger.INFO))
    if job.plugin is not None:
        load_plugins(builder, job.plugin)
    # The parser holds the weights: it has to live as long as the network.
    network, _parser = parse(trt, builder, job.graph.read_bytes(), job.model, depends.branch)
    proof = prove(network, depends.branch, depends.precision, merged=depends.gates is not None)
    config = make_config(trt, builder, depends)
    if job.plugin is not None:
        config.plugins_to_serialize = [str(job.plugin)]
    config.progress_monitor = _monitor(trt, report)
    with timings(config, job.timing_cache):
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{job.library} could not build the {depends.branch}'s engine")
    job.output.write_bytes(plan)
    return {
        "proof": proof.model_dump(mode="json"),
        "seconds": time.perf_counter() - start,
        "peak_memory": peak_memory(),
    }


def parse(trt: Any, builder: Any, graph: bytes, model: Path, branch: Branch) -> tuple[Any, Any]:
    """Return a graph as a strongly typed network, and the parser, which holds its weights.

    Raises EngineError: the parser does not take it.
    """
    # TensorRT 11 and TensorRT-RTX know no other kind; TensorRT 10 has to be told.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse(graph, str(model)) or parser.num_errors:
        first = parser.get_error(0)
        raise EngineError(
            f"{trt.__name__} does not take the {branch}'s graph",
            wanted="no parser error",
            found=f"{parser.num_errors}, the first at {first.node_operator()} "
            f"{first.node_name()}: {first.desc()}",
        )
    return network, parser


def make_config(trt: Any, builder: Any, depends: Depends) -> Any:
    """Return the builder's settings, without precision, which is in the graph's types."""
    config = builder.create_builder_config()
    # On by default: float32 products of 10-bit mantissas. An fp32 bundle promises more.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Without it TensorRT-RTX may allocate as it runs, which no captured graph can do.
    if depends.flavour == "tensorrt-rtx":
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if depends.sms:
        config.num_compute_capabilities = len(depends.sms)
        for i, sm in enumerate(depends.sms):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), i)
    config.add_optimization_profile(_profile(builder, depends.profile))
    return config


@contextmanager
def timings(config: Any, path: Path | None) -> Iterator[None]:
    """Let the builder take timings from a file, and write all that it has at the end into it."""
    if path is None:
        yield
        return
    cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise EngineError(
            f"cannot use the timing cache {path}",
            wanted="one that this version wrote on this GPU",
            found="another, or no timing cache",
            hint="remove it, or name another with --timing-cache",
        )
    yield
    with atomic_file(path) as partial:
        partial.write_bytes(config.get_timing_cache().serialize())


def load_plugins(builder: Any, library: Path) -> None:
    """Register a library's plugins with a builder, whose parser then finds them.

    Raises EngineError: TensorRT does not take it; the log says why.
    """
    if builder.get_plugin_registry().load_library(str(library)) is None:
        raise EngineError(
            f"TensorRT does not load the plugins {library}",
            wanted="a library of its major version, with kernels for this GPU",
            found="one that it refuses",
        )


def _profile(builder: Any, ranges: dict[str, Range]) -> Any:
    profile = builder.create_optimization_profile()
    for name, shapes in ranges.items():
        profile.set_shape(name, shapes.min, shapes.opt, shapes.max)
    return profile


def _monitor(trt: Any, report: Any) -> Any:
    """An `IProgressMonitor`; its base class comes with the library, so it is made here."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # a base of type Any
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.progress = NestedProgress()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.progress.start(name, parent, steps)
            report(self.progress.fraction, name)

        def step_complete(self, name: str, step: int) -> bool:
            if self.progress.advance(name):
                report(self.progress.fraction, name)
            return True

        def phase_finish(self, name: str) -> None:
            self.progress.finish(name)

    return Monitor()


class NestedProgress:
    """Turn phases within phases into one fraction that never goes back."""

    def __init__(self) -> None:
        self._share: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self.fraction = 0.0
        self._told = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase, all steps of which together are one step of its parent."""
        whole = 1.0 if parent is None else self._share.get(parent, 0.0)
        self._share[name] = whole / max(steps, 1)
        self._begun[name] = self.fraction

    def advance(self, name: str) -> bool:
        """Count a step; return whether that is a visible change."""
        self._begun[name] = self._begun.get(name, 0.0) + self._share.get(name, 0.0)
        self.fraction = min(1.0, max(self.fraction, self._begun[name]))
        if self.fraction - self._told < 0.005:
            return False
        self._told = self.fraction
        return True

    def finish(self, name: str) -> None:
        """End a phase."""
        self._share.pop(name, None)
        self._begun.pop(name, None)


def _send(answers: TextIO, **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")


def _end_with_parent() -> None:
    """The parent holds stdin open as long as it lives."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
