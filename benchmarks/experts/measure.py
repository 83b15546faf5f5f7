"""Time the same drawn network in each form, for several numbers of experts and top_k.

All forms and routes of one number of experts take turns within each round, each in a process
of its own, so that ratios between them hold on a noisy machine.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lorair.benchmarks.experts.crossover import sentences
from lorair.benchmarks.experts.forms import FormSpec
from lorair.benchmarks.schema.costs import ExpertRow
from lorair.benchmarks.schema.statistics import summarize
from lorair.benchmarks.timing.graphs import size_on_disk, write_gates
from lorair.benchmarks.timing.latency import in_turn, write_photograph
from lorair.benchmarks.timing.runner import ProcessRunner, Runner
from lorair.exporter import photos
from lorair.exporter.build import build_bundle
from lorair.exporter.checkpoint.synth import draw_pair, preset
from lorair.exporter.engines.sizes import Size
from lorair.exporter.model.config import TINY, ModelConfig, default_classes
from lorair.runtime.bundle.manifest import Source
from lorair.runtime.errors import VerificationError
from lorair.runtime.system import console

Form = Literal["merged", "gates"]

SWITCHES: Final = 3
"""How many times each route is merged and loaded; the median counts."""

MAX_ERROR: Final = {"onnxruntime": 1e-5, "openvino": 1e-5, "openvino-bf16": 0.05}
"""Between forms of one network, of values in [0, 1]. bfloat16 rounds merged weights too."""


@dataclass(frozen=True)
class Sweep:
    """What to measure. mixtures: the numbers of experts, with the top_k of each."""

    preset: str
    mixtures: dict[int, tuple[int, ...]]
    sizes: tuple[Size, ...]
    rounds: int
    backend: str
    threads: int | None = None


@dataclass
class TimedForm:
    """A row in the making; its runner lives as long as its group is timed."""

    row: ExpertRow
    runner: Runner
    samples: list[float] = field(default_factory=list)

    def run(self, source: Path, target: Path) -> float:
        """Restore a picture; return the network's seconds."""
        return self.runner.run(source, target)["restorer"]

    def to_row(self) -> ExpertRow:
        """Return the row with what follows from the samples."""
        s = summarize(self.samples)
        update = {"samples": tuple(self.samples), "p50": s.p50, "interval": s.interval}
        return self.row.model_copy(update=update)


@dataclass
class FormSession:
    """What has been measured so far. description: of the backend, once it is open."""

    timed: list[TimedForm] = field(default_factory=list)
    description: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the fields of the report that are known now: rows timed at least once."""
        rows = tuple(timed.to_row() for timed in self.timed if timed.samples)
        return {"description": self.description, "rows": rows, "crossover": sentences(rows)}


def measure(sweep: Sweep, session: FormSession) -> None:
    """Time every mixture, into `session`.

    Raises VerificationError: two forms give different pictures.
    """
    with tempfile.TemporaryDirectory(prefix="lorair-bench-") as name:
        bundle = Path(name) / "bundle"
        build_network(sweep.preset, max(sweep.mixtures), bundle)
        for experts, top_ks in sweep.mixtures.items():
            with (
                tempfile.TemporaryDirectory(prefix="experts-", dir=name) as folder,
                console.step(f"time {experts} expert{'s'[: experts != 1]}"),
            ):
                _Group(sweep, bundle, experts, Path(folder), session).measure(top_ks)


def draw_route(experts: int, top_k: int) -> tuple[float, ...]:
    """Return gates (E) that sum to 1, top_k of them not 0."""
    draw = np.random.default_rng(experts * 1000 + top_k)
    gates = np.zeros(experts)
    gates[draw.permutation(experts)[:top_k]] = draw.dirichlet(np.full(top_k, 4.0))
    return tuple(float(g) for g in gates)


def mixture(name: str, experts: int) -> ModelConfig:
    """Return a preset's restoration network with so many experts, and the smallest router."""
    config = preset(name)
    return ModelConfig(
        replace(config.restoration, num_experts=experts),
        # The router is the same for all forms, and at full size four times the network.
        replace(TINY.router, num_classes=experts, projection=2 * config.restoration.prior),
        top_k=1,
        classes=default_classes(experts, setting1=False),
    )


def build_network(preset: str, experts: int, path: Path) -> None:
    """Write a drawn network as a bundle; fewer experts are the first of more."""
    source = Source(kind="synthetic", detail=f"{preset}, {experts} experts, seed 0")
    drawn = draw_pair(mixture(preset, experts), seed=0)
    build_bundle(drawn, source, path, photographs=photos.paths()[:1])


class _Group:
    """All that is timed with one number of experts."""

    def __init__(
        self, sweep: Sweep, bundle: Path, experts: int, folder: Path, session: FormSession
    ) -> None:
        self.sweep, self.session = sweep, session
        self.experts, self.folder = experts, folder
        self.graph = folder / "gates.onnx"
        self.gated = FormSpec(bundle, sweep.backend, sweep.threads, graph=self.graph)
        write_gates(bundle, sweep.backend, experts, self.graph)

    def measure(self, top_ks: Sequence[int]) -> None:
        """Merge, then time all forms in turn."""
        switches = self._merge(top_ks)
        with ExitStack() as stack:
            runners = [
                (top_k, form, stack.enter_context(ProcessRunner(spec)))
                for top_k in top_ks
                for form, spec in self._specs(top_k).items()
            ]
            for size in self.sweep.sizes:
                timed = [
                    TimedForm(self._row(top_k, form, size, switches[top_k]), runner)
                    for top_k, form, runner in runners
                ]
                self.session.timed += timed
                self._time(timed, size)

    def _merge(self, top_ks: Sequence[int]) -> dict[int, float]:
        """The merged graph of each route; seconds of merging and loading, by top_k."""
        spec, seconds = replace(self.gated, merges=True), {}
        with ProcessRunner(spec) as runner:
            self.session.description = runner.description
            for top_k in top_ks:
                route = self.folder / "route.npy"
                np.save(route, np.array(draw_route(self.experts, top_k), np.float32))
                runs = [runner.run(route, self._merged(top_k)) for _ in range(SWITCHES)]
                seconds[top_k] = float(np.median([run["switch"] for run in runs]))
        return seconds

    def _merged(self, top_k: int) -> Path:
        return self.folder / f"merged{top_k}.onnx"

    def _specs(self, top_k: int) -> dict[Form, FormSpec]:
        gates = draw_route(self.experts, top_k)
        return {
            "merged": replace(self.gated, graph=self._merged(top_k)),
            "gates": replace(self.gated, gates=gates),
        }

    def _row(self, top_k: int, form: Form, size: Size, switch: float) -> ExpertRow:
        several = self.experts > 1
        return ExpertRow(
            experts=self.experts, top_k=top_k, rank=preset(self.sweep.preset).restoration.r,
            height=size.height, width=size.width, form=form,
            bundle_bytes=size_on_disk(self.graph if form == "gates" else self._merged(top_k)),
            switch_seconds=(0.0 if form == "gates" else switch) if several else None,
            note="" if several else "one expert has one route",
        )  # fmt: skip

    def _time(self, timed: list[TimedForm], size: Size) -> None:
        source = write_photograph(size, self.folder)
        targets = [self.folder / f"{index}.npy" for index in range(len(timed))]
        for one, target in zip(timed, targets, strict=True):
            one.run(source, target)
        compare_pictures(timed, targets, self.sweep.backend)
        for number in range(self.sweep.rounds):
            for one in in_turn(timed, number):
                one.samples.append(one.run(source, targets[0]))
        for one in timed:
            held = {"peak_memory": one.runner.peak_memory().host}
            one.row = one.row.model_copy(update=held)


def compare_pictures(timed: Sequence[TimedForm], pictures: Sequence[Path], backend: str) -> None:
    """Check that the forms give the same picture, so that what is timed is comparable.

    pictures: what each of the forms, of one size, restored with the backend, `.npy`. Raises
    VerificationError.
    """
    found = {(t.row.top_k, t.row.form): p for t, p in zip(timed, pictures, strict=True)}
    for top_k in {t.row.top_k for t in timed}:
        merged, gates = (np.load(found[top_k, form]) for form in ("merged", "gates"))
        error = float(abs(merged - gates).max())
        if not error <= MAX_ERROR[backend]:
            raise VerificationError(
                f"merged weights give another picture than gates, top {top_k}",
                wanted=f"a difference of at most {MAX_ERROR[backend]:g}",
                found=f"{error:.2g}",
                hint=f"try another --backend than {backend}",
            )
