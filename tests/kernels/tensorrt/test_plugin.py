"""The TensorRT plugin, called as TensorRT calls it, through the real types of TensorRT-RTX.

It is never registered with that library, which has no plugins. Dimension expressions exist
only within a build, so they have a stand-in here, `Expression`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import operators
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from lorair.kernels import spec
from lorair.kernels.aot import write_index
from lorair.kernels.launches import DType, conv_kernel, launches, tilings, workspace
from lorair.kernels.onnx_functions import bodies
from lorair.kernels.spec import FORMS, output_shapes
from lorair.kernels.tensorrt.node import kernels_of
from lorair.kernels.tensorrt.plugin import make_creator, register
from lorair.kernels.tiles import MAX_PIXELS, conv_tiles
from lorair.kernels.variants import Variant, variants
from lorair.runtime.bundle.kernels import Compiled, read_index
from lorair.runtime.errors import BackendError, BundleError, EngineError

rtx: Any = pytest.importorskip(
    "tensorrt_rtx", reason="its types are those of TensorRT: pip install 'lorair[rtx]'"
)

EXPERTS, RANK, SCALE = 3, 4, 1.5
TYPES = {torch.float32: rtx.float32, torch.float16: rtx.float16, torch.bfloat16: rtx.bfloat16}
STREAM = 0x5EA


def compiled(variant: Variant) -> Compiled:
    """As `aot.compile_variant` describes it, without compiling."""
    return Compiled(
        variant.name, variant.operator, 89, "cubin", f"{variant.name}.cubin", "entry",
        tuple(variant.signature.items()), variant.aligned, variant.constants,
        (32 * variant.warps, 1, 1), 0, 40, 0,
    )  # fmt: skip


DTYPE_NAMES: tuple[DType, ...] = ("fp16", "fp32")
VARIANTS = {v.name: v for dtype in DTYPE_NAMES for v in variants(EXPERTS, RANK, dtype)}
KERNELS = {name: compiled(variant) for name, variant in VARIANTS.items()}


class Expression:
    """Stands in for `IDimensionExpr` and, as a class, for `IExprBuilder`."""

    def __init__(self, value: int) -> None:
        self.value = value

    @staticmethod
    def constant(value: int) -> "Expression":
        return Expression(value)

    @staticmethod
    def operation(kind: Any, first: "Expression", second: "Expression") -> "Expression":
        assert kind == rtx.DimensionOperation.FLOOR_DIV
        return Expression(first.value // second.value)


TRT = SimpleNamespace(**vars(rtx) | {"DimsExprs": list, "__name__": "tensorrt"})
"""The real module but for the list of expressions, which takes none but real ones."""


@dataclass
class Interpreter:
    """A launcher that runs kernels in Triton's interpreter, on the tensors at the addresses."""

    tensors: dict[int, Tensor]

    def __post_init__(self) -> None:
        self.loaded: set[str] = set()
        self.launched: list[str] = []

    def load(self, kernel: Compiled) -> None:
        self.loaded.add(kernel.name)

    def launch(self, kernel: Compiled, grid: Any, arguments: Sequence[Any], stream: int) -> None:
        assert kernel.name in self.loaded
        assert stream == STREAM
        self.launched.append(kernel.name)
        given: dict[str, Any] = {}
        for (name, kind), value in zip(kernel.arguments, arguments, strict=True):
            assert name not in kernel.aligned or value % 16 == 0
            assert kind != "i32" or isinstance(value, int)
            given[name] = value
            if kind.startswith("*"):
                given[name] = self.tensors[value]
                types = {"*fp16": torch.float16, "*fp32": torch.float32}
                assert given[name].dtype == types[kind], name
        VARIANTS[kernel.name].function[grid](**given, **kernel.constants)


def draw(operator: str, dtype: torch.dtype, size: tuple[int, ...], each: bool) -> list[Tensor]:
    """Inputs of an operator, in its order."""
    return list(operators.draw(operator, dtype, size, each).values())


def wanted(operator: str, inputs: list[Tensor]) -> list[Tensor]:
    """In float64, in loops."""
    given = dict(zip(FORMS[operator].inputs, inputs, strict=True))
    return [torch.from_numpy(one.value) for one in operators.loops(operator, given, SCALE)]


def desc(tensor: Tensor) -> Any:
    one = rtx.PluginTensorDesc()
    one.dims, one.type = tuple(tensor.shape), TYPES[tensor.dtype]
    one.format = rtx.TensorFormat.LINEAR
    return one


def dynamic(tensor: Tensor) -> Any:
    one = rtx.DynamicPluginTensorDesc()
    one.desc, one.max = desc(tensor), rtx.Dims(tuple(tensor.shape))
    return one


def fields(operator: str) -> Any:
    """Of an ONNX node, as the parser hands them over."""
    names = [] if operator == spec.NORM_SCALE_ADD else ["scale"]
    names += ["strides", "pads", "group"] if operator == spec.LORA_MOE_CONV else []
    return rtx.PluginFieldCollection([field(name, ATTRIBUTES[name]) for name in names])


def field(name: str, data: Any) -> Any:
    floats, ints = rtx.PluginFieldType.FLOAT32, rtx.PluginFieldType.INT32
    return rtx.PluginField(name, data, floats if data.dtype == np.float32 else ints)


ATTRIBUTES = {
    "scale": np.array([SCALE], np.float32),
    "strides": np.ones(2, np.int32),
    "pads": np.zeros(4, np.int32),
    "group": np.ones(1, np.int32),
}
"""Kept here: a field holds no reference to its memory."""


def make(operator: str, launcher: Any = None, kernels: dict[str, Compiled] = KERNELS) -> Any:
    creator = make_creator(TRT, operator, kernels, launcher)
    return creator.create_plugin("a node", fields(operator), rtx.TensorRTPhase.BUILD)


def run(
    operator: str, dtype: torch.dtype, size: tuple[int, ...], *, each: bool = False, tactic: int = 0
) -> tuple[list[Tensor], list[Tensor], Interpreter]:
    """Build, serialize, deserialize and run a node: inputs, outputs, launcher."""
    inputs = draw(operator, dtype, size, each)
    shapes = output_shapes(operator, [t.shape for t in inputs], lambda side: side // 2, 1)
    outputs = [torch.full(shape, torch.nan, dtype=dtype) for shape in shapes]
    launcher = Interpreter({})
    built, creator = make(operator, launcher), make_creator(TRT, operator, KERNELS, launcher)
    built.configure_plugin([dynamic(t) for t in inputs], [dynamic(t) for t in outputs])
    size_of = built.get_workspace_size([dynamic(t) for t in inputs], [])
    scratch = torch.full((size_of // 4,), torch.nan)
    stored = built.get_fields_to_serialize()
    plugin = creator.create_plugin("a node", stored, rtx.TensorRTPhase.RUNTIME)
    plugin = plugin.attach_to_context(None)
    loaded = set(launcher.loaded)
    plugin.set_tactic(tactic)
    plugin.on_shape_change([desc(t) for t in inputs], [desc(t) for t in outputs])
    assert launcher.loaded == loaded
    launcher.tensors = {t.data_ptr(): t for t in (*inputs, *outputs, scratch) if t.numel()}
    descs, addresses = (
        [[*map(of, tensors)] for tensors in (inputs, outputs)] for of in (desc, Tensor.data_ptr)
    )
    plugin.enqueue(*descs, *addresses, scratch.data_ptr(), STREAM)
    return inputs, outputs, launcher


SIZES = {"aligned": (1, 32, 4, 8), "any": (2, 16, 5, 67)}


@pytest.mark.parametrize("operator", spec.OPERATORS)
@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, "aligned"), (torch.float32, "any")])
def test_a_node_computes_its_operator(operator: str, size: str, dtype: torch.dtype) -> None:
    """Grid, argument order and workspace are right, or results would not be."""
    inputs, outputs, launcher = run(operator, dtype, SIZES[size], each=size == "any")
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for found, reference in zip(outputs, wanted(operator, inputs), strict=True):
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found.double(), reference, rtol=tolerance, atol=tolerance)
    if operator != spec.LORA_MOE_DEPTHWISE_GATE:
        assert [name.rpartition(".")[2] for name in launcher.launched] == [size]


@pytest.mark.parametrize("tactic", [1, 2, 3])
def test_tactics_are_the_tilings(tactic: int) -> None:
    inputs, (found,), launcher = run(
        spec.LORA_MOE_CONV_ADD, torch.float16, (1, 32, 4, 8), tactic=tactic
    )
    tile = conv_tiles(2, norm=False, gate=False, scaled=False)[tactic - 1]
    name = conv_kernel(spec.LORA_MOE_CONV_ADD, "fp16", tile, aligned=True)
    assert launcher.launched == [name]
    reference = wanted(spec.LORA_MOE_CONV_ADD, inputs)[0]
    torch.testing.assert_close(found.double(), reference, rtol=1e-2, atol=1e-2)


def test_tactics_are_offered_where_there_is_a_choice() -> None:
    for operator, dtype, count in [
        (spec.LORA_MOE_CONV, torch.float16, 3),
        (spec.NORM_LORA_MOE_CONV_GATE, torch.float16, 2),
        (spec.LORA_MOE_CONV, torch.float32, 0),
        (spec.LORA_MOE_DEPTHWISE_GATE, torch.float16, 0),
        (spec.NORM_SCALE_ADD, torch.float16, 0),
    ]:
        plugin = make(operator)
        inputs = draw(operator, dtype, (1, 32, 4, 8), each=False)
        plugin.configure_plugin([dynamic(t) for t in inputs], [])
        assert plugin.get_valid_tactics() == list(range(1, count + 1))


@pytest.mark.parametrize("operator", spec.OPERATORS)
def test_fields_survive_serialization(operator: str) -> None:
    creator = make_creator(TRT, operator, KERNELS, Interpreter({}))
    built = creator.create_plugin("a node", fields(operator), rtx.TensorRTPhase.BUILD)
    stored = built.get_fields_to_serialize()
    again = creator.create_plugin("a node", stored, rtx.TensorRTPhase.RUNTIME)
    assert again.scale == built.scale == (0 if operator == spec.NORM_SCALE_ADD else SCALE)
    for one in (built, again, again.clone()):
        assert isinstance(one, rtx.IPluginV3)
        named = (one.plugin_name, one.plugin_namespace, one.plugin_version)
        assert named == (operator, "lorair", "1")
        assert one.num_outputs == len(FORMS[operator].outputs)
        for kind in ("CORE", "BUILD", "RUNTIME"):
            assert one.get_capability_interface(getattr(rtx.PluginCapabilityType, kind)) is one
    assert {field.name for field in stored} <= {field.name for field in creator.field_names}
    assert (creator.name, creator.plugin_namespace) == (operator, "lorair")


@pytest.mark.parametrize(
    ("name", "data"), [("strides", [2, 2]), ("pads", [1, 1, 1, 1]), ("group", [8]), ("scale", None)]
)
def test_a_convolution_without_a_kernel_is_refused(name: str, data: list[int] | None) -> None:
    given = [one for one in fields(spec.LORA_MOE_CONV) if one.name != name]
    array = np.array(data or [], np.int32)
    if data is not None:
        given.append(field(name, array))
    creator = make_creator(TRT, spec.LORA_MOE_CONV, KERNELS, Interpreter({}))
    with pytest.raises(EngineError, match=name):
        creator.create_plugin("n", rtx.PluginFieldCollection(given), rtx.TensorRTPhase.BUILD)


@pytest.mark.parametrize("operator", spec.OPERATORS)
def test_symbolic_shapes_are_the_results_shapes(operator: str) -> None:
    inputs = draw(operator, torch.float32, (2, 16, 5, 7), each=False)
    symbols = [[*map(Expression, t.shape)] for t in inputs]
    shapes = make(operator).get_output_shapes(symbols, [], Expression)
    assert [tuple(dim.value for dim in shape) for shape in shapes] == [
        tuple(t.shape) for t in wanted(operator, inputs)
    ]


@pytest.mark.parametrize("operator", spec.OPERATORS)
def test_formats_and_types(operator: str) -> None:
    plugin, form = make(operator), FORMS[operator]
    inputs = draw(operator, torch.float16, (1, 16, 4, 4), each=False)
    outputs = [t.half() for t in wanted(operator, inputs)]
    tensors = [*inputs, *outputs]

    def accepts(position: int, change: Callable[[Any], None] = lambda _: None) -> bool:
        descs = [dynamic(t) for t in tensors]
        one = descs[position].desc
        change(one)
        descs[position].desc = one
        return bool(plugin.supports_format_combination(position, descs, len(inputs)))

    for position in range(len(tensors)):
        is_gates = (*form.inputs, *form.outputs)[position] == "gates"
        other = rtx.float16 if is_gates else rtx.float32
        assert accepts(position)
        assert not accepts(position, lambda d: setattr(d, "format", rtx.TensorFormat.CHW32))
        # The type of x is free, among those that have kernels.
        assert accepts(position, lambda d, t=other: setattr(d, "type", t)) == (position == 0)
    assert not accepts(0, lambda d: setattr(d, "type", rtx.bfloat16))
    assert plugin.get_output_data_types([rtx.float16] * len(inputs)) == [rtx.float16] * len(outputs)


def test_shapes_may_change_between_runs_and_clones_are_independent() -> None:
    plugin = make(spec.LORA_MOE_CONV, Interpreter({})).attach_to_context(None)
    descs = [desc(t) for t in draw(spec.LORA_MOE_CONV, torch.float16, (1, 32, 4, 8), False)]
    plugin.on_shape_change(descs, [])
    other = plugin.clone()
    descs[0].dims = (1, 32, 5, 7)
    plugin.on_shape_change(descs, [])
    (_, before), (_, after) = other.ready[0], plugin.ready[0]
    assert (before.numbers["pixels"], after.numbers["pixels"]) == (32, 35)
    assert before.kernel.endswith("aligned")
    assert after.kernel.endswith("any")


def test_what_the_kernels_cannot_do_is_an_error() -> None:
    plugin = make(spec.LORA_MOE_CONV, Interpreter({}))
    descs = [desc(t) for t in draw(spec.LORA_MOE_CONV, torch.float16, (1, 32, 4, 8), False)]
    weight, A = tuple(descs[1].dims), tuple(descs[2].dims)
    descs[0].dims = (1, 32, 4096, 4096)
    with pytest.raises(EngineError, match=f"less than {MAX_PIXELS} pixels"):
        plugin.on_shape_change(descs, [])
    descs[0].dims, descs[2].dims = (1, 32, 4, 8), (2, *A[1:])
    with pytest.raises(EngineError, match="3 experts with 4 rows of lora_A, found 2 with 4"):
        plugin.on_shape_change(descs, [])
    descs[1].dims, descs[2].dims = (24, *weight[1:]), A
    with pytest.raises(EngineError, match="outputs a multiple of 16, found 24"):
        plugin.on_shape_change(descs, [])
    descs[1].dims = weight
    plugin.on_shape_change(descs, [])
    with pytest.raises(EngineError, match="x a multiple of 16, found 8"):
        plugin.enqueue(descs, [], [8, 0, 0, 0, 0], [0], 0, STREAM)


@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_every_launch_is_of_a_kernel_that_is_compiled(dtype: DType) -> None:
    """And gives each of its arguments; no variant is without a launch."""
    given = {o: [name for name in VARIANTS if VARIANTS[name].operator == o] for o in FORMS}
    for operator, form in FORMS.items():
        assert set(kernels_of(operator, dtype)) == {
            name for name in given[operator] if f".{dtype}" in name
        }
        pointers = {*form.inputs, *form.outputs, "sums"}
        for pixels in ((1, 64), (300, 333), (512, 512)):
            for tactic in range(len(tilings(operator, dtype)) + 1):
                inputs = list(operators.shapes_of(operator, (1, 64, *pixels)).values())
                for launch in launches(operator, dtype, inputs, SCALE, tactic):
                    names = [name for name, _ in KERNELS[launch.kernel].arguments]
                    assert set(names) - pointers == set(launch.numbers)


def test_inputs_and_outputs_are_the_operators() -> None:
    """In the order of the ONNX functions, which is that of a graph's nodes."""
    for body in bodies("reduce", float32=True):
        form = FORMS[body.name]
        inputs = ["x" if name == "X" else name for name in body.input]
        if body.name == spec.LORA_MOE_CONV:
            assert inputs.pop() == "bias"
        assert form.inputs == tuple(inputs)
        assert form.outputs == tuple("y" if name == "Y" else name for name in body.output)


def test_workspace_grows_with_the_picture() -> None:
    sizes = [
        workspace(spec.LORA_MOE_DEPTHWISE_GATE, [s])
        for s in ((1, 16, 8, 64), (1, 16, 9, 64), (1, 16, 9, 65), (2, 16, 9, 65))
    ]
    assert sizes == [4 * 8, 4 * 8 * 2, 4 * 8 * 4, 4 * 8 * 8]


class Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def get_creator(self, *key: str) -> Any:
        return self.creators.get(key)  # type: ignore[arg-type]

    def register_creator(self, creator: Any, namespace: str) -> bool:
        key = (creator.name, creator.plugin_version, namespace)
        return key not in self.creators and not self.creators.update({key: creator})


@pytest.fixture
def tensorrt() -> Any:
    registry = Registry()
    return SimpleNamespace(
        **vars(TRT) | {"get_plugin_registry": lambda: registry, "registry": registry}
    )


def test_registering(tensorrt: Any, tmp_path: Path) -> None:
    write_index(tmp_path, list(KERNELS.values()))
    for _ in range(2):
        register(tensorrt, tmp_path, 89, Interpreter({}))
    assert set(tensorrt.registry.creators) == {(name, "1", "lorair") for name in spec.OPERATORS}
    write_index(tmp_path, [replace(kernel, entry="another") for kernel in KERNELS.values()])
    with pytest.raises(EngineError, match="one bundle's kernels in a process"):
        register(tensorrt, tmp_path, 89, Interpreter({}))


def test_kernels_of_another_gpu_are_refused(tensorrt: Any, tmp_path: Path) -> None:
    write_index(tmp_path, list(KERNELS.values()))
    with pytest.raises(BundleError, match=r"those for sm_90.*--kernels"):
        register(tensorrt, tmp_path, 90, Interpreter({}))
    write_index(tmp_path, [k for k in read_index(tmp_path) if ".mean." not in k.name])
    with pytest.raises(BundleError, match=spec.LORA_MOE_DEPTHWISE_GATE):
        register(tensorrt, tmp_path, 89, Interpreter({}))
    assert tensorrt.registry.creators == {}


def test_tensorrt_rtx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "get_plugin_registry", lambda: pytest.fail("registered"))
    with pytest.raises(BackendError, match=r"wanted TensorRT 10 or later, found tensorrt_rtx"):
        register(rtx, tmp_path, 89, Interpreter({}))
