"""Copies of a bundle's graphs whose inner values are outputs, whole or as numbers.

A value is what a node of the portable graph computes: an operator of ours is one node. The
graphs in a runtime's own form hold the same values under the same names.
"""

import math
import shutil
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from lorair.exporter.graphs.inlined import inlined
from lorair.runtime.backends import Branch, RunsGraphs
from lorair.runtime.pixels import Array

Inputs = dict[str, Array]
"""Of a branch, by name."""

_GATES = "gates"

_LAYOUT = frozenset(
    {
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape"),
        *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""Nodes that move values and compute none."""


@dataclass(frozen=True)
class Value:
    """What a node computes.

    is_half: whether it is float16 in the bundle; otherwise it is float32.
    """

    name: str
    node: str
    operator: str
    is_half: bool


@dataclass(frozen=True)
class Statistics:
    """Of one value: its largest magnitude (infinite if it is not finite) and its size."""

    largest: float
    not_finite: int
    size: int


def values(graph: Path) -> list[Value]:
    """Return every floating-point value that a portable graph computes, in its order."""
    model = onnx.load(graph, load_external_data=False).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.value_info, *model.output)}
    wanted = {TensorProto.FLOAT, TensorProto.FLOAT16}
    return [
        Value(name, node.name, node.op_type, types[name] == TensorProto.FLOAT16)
        for node in model.node
        if node.op_type not in _LAYOUT
        for name in node.output
        if types.get(name) in wanted
    ]


class Watched:
    """A branch's graph on one backend, run with inner values as outputs.

    Outputs keep a value from being fused away, and what nobody asks for is not computed: a
    backend may round otherwise than when it runs the bundle. The graph is a bundle's, its weights
    beside it; gates that are bound there are set to the inputs' when it runs. The folder takes a
    copy of the weights, unless they are there, and the changed graphs, which are named by `name`.
    """

    def __init__(
        self, backend: RunsGraphs, branch: Branch, graph: Path, folder: Path, name: str
    ) -> None:
        self._backend, self._branch = backend, branch
        self._path = folder / f"{branch}.{name}.watched.onnx"
        self._model = inlined(graph, "reduce")
        self.names = frozenset(name for node in self._model.graph.node for name in node.output)
        _copy_weights(self._model, graph.parent, folder)

    def fetch(self, names: Sequence[str], inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        """Return the named values in float32, for these inputs of the branch."""
        model = self._copy()
        _bind_gates(model.graph, inputs)
        _append_outputs(model.graph, names)
        return self._open(model, names)(inputs)

    def statistics(self, wanted: Sequence[Value]) -> Callable[[Inputs], dict[str, Statistics]]:
        """Return what computes statistics by name; the values never leave the backend."""
        model = self._copy()
        _append_statistics(model.graph, {value.name for value in wanted})
        names = [output.name for output in model.graph.output]
        run = self._open(model, names)

        def measure(inputs: Inputs) -> dict[str, Statistics]:
            numbers = {name: float(number) for name, number in run(inputs).items()}
            return {value.name: _statistics(value.name, numbers) for value in wanted}

        return measure

    def _copy(self) -> Any:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        return model

    def _open(
        self, model: Any, names: Sequence[str]
    ) -> Callable[[Inputs], dict[str, npt.NDArray[Any]]]:
        onnx.save(model, self._path)
        run = self._backend.open_graph(self._branch, self._path)
        taken = {value.name for value in model.graph.input}

        def named(inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
            found = run({name: array for name, array in inputs.items() if name in taken})
            return dict(zip(names, found, strict=True))

        return named


def _copy_weights(model: Any, source: Path, folder: Path) -> None:
    """Copied, not linked: libraries refuse weights that are a link, or that lie elsewhere."""
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for name in places:
        if not (folder / name).exists():
            shutil.copyfile(source / name, folder / name)


def _bind_gates(graph: Any, inputs: Inputs) -> None:
    """Constants of a graph that has them as a placeholder, as its backend binds them."""
    for tensor in graph.initializer:
        if tensor.name == _GATES:
            tensor.CopyFrom(numpy_helper.from_array(inputs[_GATES], _GATES))


def _append_outputs(graph: Any, names: Sequence[str]) -> None:
    """Cast to float32: a backend that computes in that, or in bfloat16, must not overflow here."""
    for name in names:
        cast = f"{name}#float32"
        graph.node.append(helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT))
        graph.output.append(ValueInfoProto(name=cast))


def _append_statistics(graph: Any, names: Set[str]) -> None:
    """Numbers of each named value as outputs, computed right behind it: it is freed at once."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        for name in node.output:
            if name in names:
                graph.node.extend(_numbers_of(name))
                graph.output.extend(ValueInfoProto(name=f"{name}#{what}") for what in _NUMBERS)


_NUMBERS = ("largest", "not_finite", "size")


def _numbers_of(name: str) -> list[Any]:
    """Largest magnitude, count of NaN and infinity, and size of a value."""
    return [
        helper.make_node("Abs", [name], [f"{name}#abs"]),
        helper.make_node("ReduceMax", [f"{name}#abs"], [f"{name}#largest"], keepdims=0),
        helper.make_node("IsNaN", [name], [f"{name}#nan"]),
        helper.make_node("IsInf", [name], [f"{name}#inf"]),
        helper.make_node("Or", [f"{name}#nan", f"{name}#inf"], [f"{name}#bad"]),
        helper.make_node("Cast", [f"{name}#bad"], [f"{name}#ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", [f"{name}#ones"], [f"{name}#not_finite"], keepdims=0),
        helper.make_node("Size", [name], [f"{name}#size"]),
    ]


def _statistics(name: str, numbers: dict[str, float]) -> Statistics:
    largest, not_finite, size = (numbers[f"{name}#{what}"] for what in _NUMBERS)
    # What a maximum makes of NaN is not defined.
    return Statistics(math.inf if not_finite else largest, int(not_finite), int(size))
