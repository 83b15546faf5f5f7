"""A node of a TensorRT network that launches compiled kernels: all of it that is plain Python.

`plugin.py` joins it with TensorRT's base classes. Under a captured CUDA graph no Python
runs: TensorRT calls `enqueue` while the graph is captured, and `enqueue` only launches.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np

from lorair.kernels import spec
from lorair.kernels.launches import (
    DTYPES,
    HEURISTIC,
    DType,
    Launch,
    Shape,
    conv_kernel,
    depthwise_kernels,
    launches,
    norm_kernel,
    tilings,
    workspace,
)
from lorair.kernels.spec import FORMS, GATES, output_shapes
from lorair.kernels.tiles import ALIGNMENT
from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.errors import EngineError
from lorair.runtime.gpu.cuda import Launcher

_TYPES: Final[dict[str, DType]] = {"HALF": "fp16", "BF16": "bf16", "FLOAT": "fp32"}
_LINEAR: Final = "LINEAR"


class Node:
    """A node of the network: what TensorRT asks of it and tells it, in plain Python.

    scale: alpha / rank; 0 for NormScaleAdd, which has none. kernels: of this GPU, by name.
    """

    trt: Any

    def __init__(
        self, operator: str, scale: float, kernels: Mapping[str, Compiled], launcher: Launcher
    ) -> None:
        self.operator, self.form = operator, FORMS[operator]
        self.kernels, self.launcher = kernels, launcher
        # TensorRT reads the field's memory after the call that made it.
        self.scale = np.array([scale], np.float32)
        self.dtype: DType | None = None
        self.shapes: list[Shape] = []
        self.tactic = HEURISTIC
        self.ready: list[tuple[Compiled, Launch]] = []

    def get_capability_interface(self, type: Any) -> Self:
        """All three capabilities are this object."""
        return self

    def clone(self) -> Self:
        """Another node in the same state."""
        other = type(self)(self.operator, float(self.scale[0]), self.kernels, self.launcher)
        other.dtype, other.shapes = self.dtype, self.shapes
        other.tactic, other.ready = self.tactic, self.ready
        return other

    def get_fields_to_serialize(self) -> Any:
        """What the creator needs to make the node again."""
        fields = []
        if self.operator != spec.NORM_SCALE_ADD:
            kind = self.trt.PluginFieldType.FLOAT32
            fields = [self.trt.PluginField("scale", self.scale, kind)]
        self.fields = self.trt.PluginFieldCollection(fields)
        return self.fields

    def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
        """X's type."""
        return [input_types[0]] * len(self.form.outputs)

    def get_output_shapes(
        self, inputs: Sequence[Any], shape_inputs: Sequence[Any], builder: Any
    ) -> list[Any]:
        """As expressions of the inputs' dimensions."""

        def halve(dim: Any) -> Any:
            return builder.operation(
                self.trt.DimensionOperation.FLOOR_DIV, dim, builder.constant(2)
            )

        shapes = output_shapes(self.operator, inputs, halve, builder.constant(1))
        return [self.trt.DimsExprs(shape) for shape in shapes]

    def supports_format_combination(self, pos: int, in_out: Sequence[Any], num_inputs: int) -> bool:
        """Linear; gates float32, x in a type that has kernels, the others as x."""
        found = in_out[pos].desc
        if found.format.name != _LINEAR:
            return False
        if pos < num_inputs and self.form.inputs[pos] == GATES:
            return bool(found.type.name == "FLOAT")
        if pos == 0:
            return _TYPES.get(found.type.name) in dtypes_of(self.operator, self.kernels)
        return bool(found.type == in_out[0].desc.type)

    def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """The types are known."""
        self.dtype = _TYPES[inputs[0].desc.type.name]

    def get_valid_tactics(self) -> list[int]:
        """The tilings, numbered from 1, where there is a choice."""
        count = len(tilings(self.operator, self.dtype)) if self.dtype else 0
        return list(range(1, count + 1)) if count > 1 else []

    def get_workspace_size(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """In bytes, at the profile's largest shapes."""
        return workspace(self.operator, [tuple(one.max) for one in inputs])

    def attach_to_context(self, context: Any) -> Self:
        """A clone for one execution context; all kernels it may need are loaded now."""
        for dtype in dtypes_of(self.operator, self.kernels):
            for name in kernels_of(self.operator, dtype):
                self.launcher.load(self.kernels[name])
        return self.clone()

    def set_tactic(self, tactic: int) -> None:
        """Which tiling; 0 is what suits the shape."""
        self.tactic = tactic
        self._prepare()

    def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """The shapes of the runs to come."""
        self.dtype = _TYPES[inputs[0].type.name]
        self.shapes = [tuple(one.dims) for one in inputs]
        self._prepare()

    def enqueue(
        self,
        input_desc: Sequence[Any],
        output_desc: Sequence[Any],
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        stream: int,
    ) -> None:
        """Launch what was prepared."""
        names = (*self.form.inputs, *self.form.outputs, "sums")
        addresses = dict(zip(names, (*inputs, *outputs, workspace), strict=True))
        for kernel, launch in self.ready:
            values = {**addresses, **launch.numbers}
            _check_alignment(kernel, values)
            arguments = [values[name] for name, _ in kernel.arguments]
            self.launcher.launch(kernel, launch.grid, arguments, stream)

    def _prepare(self) -> None:
        """Choose and load the kernels, once type and shapes are known."""
        if not self.shapes or self.dtype is None:
            return
        planned = launches(
            self.operator, self.dtype, self.shapes, float(self.scale[0]), self.tactic
        )
        self.ready = [(self.kernels[launch.kernel], launch) for launch in planned]
        self._check_experts()
        for kernel, launch in self.ready:
            _check_alignment(kernel, launch.numbers)
            self.launcher.load(kernel)

    def _check_experts(self) -> None:
        """Number and rank of the experts are compiled in."""
        constants = self.ready[0][0].constants
        if "EXPERTS" not in constants:
            return
        wanted = (constants["EXPERTS"], constants["RANK"])
        found = tuple(self.shapes[self.form.inputs.index("lora_A")][:2])
        if found != wanted:
            raise EngineError(
                f"the kernels of {self.operator} are of another network",
                wanted=f"{wanted[0]} experts with {wanted[1]} rows of lora_A",
                found=f"{found[0]} with {found[1]}",
                hint="register the kernels of the engine's own bundle",
            )


def kernels_of(operator: str, dtype: DType) -> list[str]:
    """Return the names of all kernels that an operator's launches may need."""
    both = (True, False)
    if operator == spec.NORM_SCALE_ADD:
        return [norm_kernel(dtype, aligned=aligned) for aligned in both]
    if operator == spec.LORA_MOE_DEPTHWISE_GATE:
        return list(depthwise_kernels(dtype))
    tiles = tilings(operator, dtype)
    return [conv_kernel(operator, dtype, t, aligned=aligned) for t in tiles for aligned in both]


def dtypes_of(operator: str, kernels: Mapping[str, Compiled]) -> list[DType]:
    """The types of x in which all kernels of an operator are there."""
    return [d for d in DTYPES if all(name in kernels for name in kernels_of(operator, d))]


def _check_alignment(kernel: Compiled, values: Mapping[str, int | float]) -> None:
    for name in kernel.aligned:
        if name in values and values[name] % ALIGNMENT:
            raise EngineError(
                f"cannot launch {kernel.name}",
                wanted=f"{name} a multiple of {ALIGNMENT}",
                found=str(values[name]),
                hint="build the engine with --no-plugin",
            )
