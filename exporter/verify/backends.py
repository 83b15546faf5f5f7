"""Comparing a bundle's backends with a reference: their pictures, and if they differ, why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from lorair.exporter.graphs.float32 import float32_bundle
from lorair.exporter.verify.compare import Compared, Limits, Reference, compare, run, violation
from lorair.exporter.verify.ranges import Range, audit, magnitude
from lorair.exporter.verify.report import Report, Verdict
from lorair.exporter.verify.search import Bisection, differences
from lorair.exporter.verify.watch import Inputs, Value, Watched, values
from lorair.runtime import images
from lorair.runtime.backends import BACKENDS, Backend, BackendKind, Branch, RunsGraphs, select
from lorair.runtime.bundle.manifest import Bundle, Precision
from lorair.runtime.pixels import make_views, to_planes
from lorair.runtime.system.atomic import owned_folder
from lorair.runtime.system.console import counted, progress, step

PORTABLE: Final = "portable"
"""The default reference: the bundle's portable graphs in float32 on ONNX Runtime."""

PYTORCH: Final = "pytorch"

BRANCHES: Final[tuple[Branch, ...]] = ("router", "restorer")

_TOLERANCES: Final = {"fp32": 1e-4, "fp16": 1e-2, "lower": 1e-1}
"""Of an inner value's relative error, by arithmetic; docs/verify.md says what is usual."""

_BY_POLYGRAPHY: Final = "Polygraphy shows TensorRT's: lorair-export polygraphy"

MakeReferences = Callable[[Iterable[Path]], list[Reference]]


@dataclass(frozen=True)
class Plan:
    """What to compare.

    kinds: the backends. against: the reference, PORTABLE, PYTORCH or a backend.
    search: whether to search for the node at fault; None for backends that fail.
    ranges: whether to measure how large all values become.
    references: makes them in PyTorch, if that is the reference.
    """

    kinds: tuple[BackendKind, ...]
    against: str
    pictures: tuple[Path, ...]
    limits: Limits
    search: bool | None
    ranges: bool
    references: MakeReferences | None = None


def verify_bundle(bundle: Bundle, plan: Plan) -> Report:
    """Compare backends with the reference on every picture; search those that fail.

    Backends are opened one after another: each holds all weights.

    Raises:
        BackendError: a backend that was asked for cannot run this bundle.
        PictureError: a picture cannot be read.
    """
    with owned_folder("lorair-verify-") as folder:
        return _Verification(bundle, plan, folder).run()


@dataclass(frozen=True)
class _Side:
    """A backend on a bundle."""

    bundle: Bundle
    backend: Backend
    package: str

    def graph(self, branch: Branch) -> Path:
        if branch == "router":
            assert isinstance(self.backend, RunsGraphs)
            return self.backend.router_graph
        return self.bundle.restorer_for(self.package) or self.bundle.restorer


class _Verification:
    def __init__(self, bundle: Bundle, plan: Plan, folder: Path) -> None:
        self._bundle, self._plan, self._folder = bundle, plan, folder
        self._model = bundle.manifest.model
        self._portable: _Side | None = None

    def run(self) -> Report:
        reference = self._reference()
        text = f"reference pictures ({self._plan.against})"
        with counted(text, self._plan.pictures) as each:
            references = self._references(reference, each)
        verdicts = tuple(self._judge(kind, reference, references) for kind in self._plan.kinds)
        ranges = self._ranges(references) if self._plan.ranges else None
        precision, described = self._bundle.manifest.precision, self._describe(reference)
        return Report(str(self._bundle.path), precision, described, verdicts, ranges)

    def _reference(self) -> _Side:
        """What inner values are compared with. PyTorch has none that are named alike."""
        if self._plan.against in (PORTABLE, PYTORCH):
            return self._portable_side()
        return self._side(BACKENDS[self._plan.against])

    def _portable_side(self) -> _Side:
        from lorair.runtime.backends.onnxruntime import OnnxRuntimeBackend

        if self._portable is None:
            folder = self._folder / PORTABLE
            folder.mkdir()
            bundle = float32_bundle(self._bundle, folder)
            self._portable = _Side(bundle, OnnxRuntimeBackend(bundle, None), "onnxruntime")
        return self._portable

    def _side(self, kind: BackendKind) -> _Side:
        return _Side(self._bundle, select(kind.name, self._bundle), kind.package)

    def _describe(self, reference: _Side) -> str:
        if self._plan.against == PYTORCH:
            return "PyTorch float32, CPU"
        form = "portable graph in float32, " if self._plan.against == PORTABLE else ""
        return f"{form}{reference.backend.description}"

    def _references(self, side: _Side, pictures: Iterable[Path]) -> list[Reference]:
        if self._plan.references is not None:
            return self._plan.references(pictures)
        read = ((path.name, images.read(path).pixels) for path in pictures)
        made = (run(side.backend, name, pixels, self._model) for name, pixels in read)
        return [self._spooled(number, reference) for number, reference in enumerate(made)]

    def _spooled(self, number: int, reference: Reference) -> Reference:
        """With its large arrays on disk: a folder may hold more pictures than fit in memory."""
        large: dict[str, Any] = {}
        for name in ("pixels", "restored"):
            file = self._folder / f"{number}.{name}.npy"
            np.save(file, getattr(reference, name))
            large[name] = np.load(file, mmap_mode="r")
        return replace(reference, **large)

    def _judge(
        self, kind: BackendKind, reference: _Side, references: Sequence[Reference]
    ) -> Verdict:
        side = self._side(kind)
        arithmetic, manifest = self._arithmetic(kind), self._bundle.manifest
        precision: Precision = "fp32" if arithmetic == "fp32" else "fp16"
        quantized = manifest.router_precision is not None
        limits = self._plan.limits.active(precision, quantized=quantized)
        with counted(f"{kind.name} on {len(references)} pictures", references) as each:
            pictures = tuple(compare(side.backend, one, self._model) for one in each)
        broken = violation([one.parity for one in pictures], limits)
        verdict = Verdict(kind.name, side.backend.description, limits, pictures, broken)
        if not (self._plan.search or (self._plan.search is None and broken)):
            return verdict
        for name, backend in ((kind.name, side.backend), (self._plan.against, reference.backend)):
            if not isinstance(backend, RunsGraphs):
                note = f"{name} cannot show a graph's inner values here; {_BY_POLYGRAPHY}"
                return replace(verdict, notes=(note,))
        wanted, compared = _to_search(references, pictures, limits)
        return replace(verdict, searches=self._search(kind, (side, reference), wanted, compared))

    def _arithmetic(self, kind: BackendKind) -> str:
        """A key of `_TOLERANCES`."""
        if "fp32" not in kind.precisions:
            return "lower"
        return self._bundle.manifest.precision

    def _search(
        self, kind: BackendKind, sides: tuple[_Side, _Side], wanted: Reference, compared: Compared
    ) -> tuple[Bisection, ...]:
        tolerance = _TOLERANCES[self._arithmetic(kind)]
        relative = compared.parity.prior_error / max(float(np.abs(wanted.prior).max()), 1e-12)
        is_misrouted = compared.parity.route_changed or relative > tolerance
        found = []
        for branch in BRANCHES:
            if branch == "router" and not (is_misrouted or self._plan.search):
                continue
            other = self._watch(sides[0], branch, "found")
            right = self._watch(sides[1], branch, "wanted")
            inputs = self._inputs(branch, wanted)
            with progress(f"search the {branch} of {kind.name}") as report:
                steps = differences(right, other, self._values(branch), inputs, report)
            found.append(Bisection(branch, wanted.name, tolerance, steps))
        return tuple(found)

    def _ranges(self, references: Sequence[Reference]) -> tuple[Range, ...]:
        found: list[Range] = []
        is_half = self._bundle.manifest.precision == "fp16"
        for branch in BRANCHES:
            # An fp16 bundle keeps some values in float32; of an fp32 bundle any may be asked.
            wanted = [value for value in self._values(branch) if value.is_half or not is_half]
            with step(f"ranges of the {branch}"):
                measure = self._watch(self._portable_side(), branch, "ranges").statistics(wanted)
                inputs = ((one.name, self._inputs(branch, one)) for one in references)
                found += audit(branch, wanted, measure, inputs)
        return tuple(sorted(found, key=magnitude, reverse=True))

    def _values(self, branch: Branch) -> list[Value]:
        return values(self._bundle.router if branch == "router" else self._bundle.restorer)

    def _inputs(self, branch: Branch, one: Reference) -> Inputs:
        if branch == "router":
            return {"views": make_views(one.pixels, self._model.clip_side)}
        planes = to_planes(one.pixels, self._model.stride)
        return {"image": planes, "prior": one.prior, "gates": one.gates[0]}

    def _watch(self, side: _Side, branch: Branch, name: str) -> Watched:
        assert isinstance(side.backend, RunsGraphs)
        is_ours = side.bundle.path.parent == self._folder
        folder = side.bundle.path if is_ours else self._folder / "weights"
        folder.mkdir(exist_ok=True)
        return Watched(side.backend, branch, side.graph(branch), folder, name)


def _to_search(
    references: Sequence[Reference], pictures: Sequence[Compared], limits: dict[str, float]
) -> tuple[Reference, Compared]:
    """The smallest picture that fails, one that is not finite first; or the smallest of all."""

    def rank(pair: tuple[Reference, Compared]) -> tuple[bool, bool, int]:
        parity = pair[1].parity
        passes = violation([parity], limits) is None
        return pair[1].is_finite, passes, parity.width * parity.height

    return min(zip(references, pictures, strict=True), key=rank)
