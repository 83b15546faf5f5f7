"""The library of plugins, played by a host with TensorRT's real headers over a recording driver.

What the library launches runs in Triton's interpreter, on the tensors at the addresses.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import operators
import pytest
import torch
from plugin_host import (
    SANITIZED,
    STRICT,
    Host,
    Launch,
    Node,
    Played,
    described,
    image,
    played,
    skip_unless_it_compiles,
)

pytest.importorskip("triton")

from lorair.kernels import spec
from lorair.kernels.aot import write_index
from lorair.kernels.launches import DType, launches, tilings, workspace
from lorair.kernels.onnx_functions import bodies
from lorair.kernels.spec import FORMS, output_shapes
from lorair.kernels.tensorrt.library import compile_library, find_headers, write_source
from lorair.kernels.tensorrt.table import Symbol, dtypes_of, write_table
from lorair.kernels.variants import Variant, variants
from lorair.runtime.bundle.kernels import read_index
from lorair.runtime.errors import BundleError

EXPERTS, RANK, SCALE = 3, 4, 1.5
KERNEL_SET = "ab" * 32
DTYPES: dict[DType, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}
POINTED = {f"*{name}": dtype for name, dtype in DTYPES.items()}
VARIANTS: dict[str, Variant] = {v.name: v for d in DTYPES for v in variants(EXPERTS, RANK, d)}
THREADS = 8


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    skip_unless_it_compiles()
    return Host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels in name, of two GPUs and as PTX."""
    made = tmp_path_factory.mktemp("kernels")
    all_of_them = [
        described(variant, sm, format)
        for variant in VARIANTS.values()
        for sm, format in ((80, "cubin"), (90, "cubin"), (89, "ptx"))
    ]
    for kernel in all_of_them:
        (made / kernel.file).write_text(image(kernel))
    write_index(made, all_of_them)
    return made


@pytest.fixture(scope="module")
def library(host: Host, folder: Path) -> Path:
    """With AddressSanitizer, warnings as errors."""
    path = host.folder / "liblorair-trt10.so"
    flags = (*SANITIZED, *STRICT)
    source = write_source(folder, KERNEL_SET)
    assert source.sms == (80, 90)
    compile_library(source, folder, path, find_headers(10), flags)
    return path


class Case:
    """An operator on tensors, which stay where they are."""

    def __init__(
        self,
        operator: str,
        dtype: DType,
        size: tuple[int, ...],
        *,
        each: bool = False,
        tactic: int = 0,
    ) -> None:
        self.operator, self.dtype, self.size, self.tactic = operator, dtype, size, tactic
        drawn = operators.draw(operator, DTYPES[dtype], size, each)
        self.inputs = list(drawn.values())
        shapes = [tuple(t.shape) for t in self.inputs]
        made = output_shapes(operator, shapes, lambda side: side // 2, 1)
        self.outputs = [torch.full(shape, torch.nan, dtype=DTYPES[dtype]) for shape in made]
        self.scratch = torch.full((workspace(operator, shapes) // 4,), torch.nan)
        named = operators.loops(operator, drawn, SCALE)
        self.wanted = [torch.from_numpy(one.value) for one in named]

    @property
    def node(self) -> Node:
        inputs = [(t.data_ptr(), tuple(t.shape)) for t in self.inputs]
        outputs = [t.data_ptr() for t in self.outputs]
        return Node(
            self.operator, self.dtype, inputs, outputs, self.scratch.data_ptr(), SCALE, self.tactic
        )

    def replay(self, launch: Launch) -> None:
        """Run a launch in the interpreter."""
        at = {t.data_ptr(): t for t in (*self.inputs, *self.outputs, self.scratch) if t.numel()}
        variant = VARIANTS[launch.kernel]
        *values, first, second = launch.values
        assert (first, second) == (0, 0)
        assert launch.block == (32 * variant.warps, 1, 1)
        assert launch.shared == described(variant).shared
        given: dict[str, Any] = {}
        for (name, kind), value in zip(variant.signature.items(), values, strict=True):
            assert name not in variant.aligned or value % 16 == 0
            given[name] = at[value] if kind.startswith("*") else value
            if kind.startswith("*"):
                assert given[name].dtype == POINTED[kind], name
        variant.function[launch.grid](**given, **variant.constants)


SIZES = {"aligned": (1, 32, 4, 8), "any": (2, 16, 3, 11)}


def cases() -> Iterator[Case]:
    """Every operator, both alignments, shared and separate gates, every tiling."""
    for operator in spec.OPERATORS:
        is_depthwise = operator == spec.LORA_MOE_DEPTHWISE_GATE  # of two tiles, then
        yield Case(operator, "fp16", (1, 16, 16, 8) if is_depthwise else SIZES["aligned"])
        yield Case(operator, "fp32", SIZES["any"], each=True)
        for tactic in range(1, len(tilings(operator, "fp16")) + 1):
            size = SIZES["any" if tactic % 2 else "aligned"]
            yield Case(operator, "fp16", size, each=tactic % 2 == 1, tactic=tactic)


@pytest.fixture(scope="module")
def run(host: Host, library: Path) -> tuple[list[Case], list[list[Played]]]:
    """All cases, and what became of them in eight threads at once, each with its own stream."""
    made = list(cases())
    main, *threads = host.run(library, [case.node for case in made], threads=THREADS, SM="89")
    assert main == ["creators 7"]
    return made, [played(lines) for lines in threads]


def test_every_node_computes_its_operator(run: tuple[list[Case], list[list[Played]]]) -> None:
    """Grids, the order of arguments and the workspace are right, or results would not be."""
    for case, node in zip(run[0], run[1][0], strict=True):
        for launch in node.launches:
            case.replay(launch)
        tolerance = 1e-5 if case.dtype == "fp32" else 3e-2
        for found, wanted in zip(case.outputs, case.wanted, strict=True):
            assert torch.isfinite(found).all()
            torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)
        assert node.of("workspace") == [str(case.scratch.numel() * 4)]
        assert node.shapes == [tuple(t.shape) for t in case.outputs]
        if case.operator != spec.LORA_MOE_DEPTHWISE_GATE:
            (name,) = [launch.kernel for launch in node.launches]
            assert name.endswith("aligned" if prod(case.size[2:]) % 16 == 0 else "any")
        if case.tactic:
            tile = tilings(case.operator, case.dtype)[case.tactic - 1]
            assert f".{tile.m}x{tile.n}x{tile.k}." in name


def test_threads_do_not_disturb_each_other(run: tuple[list[Case], list[list[Played]]]) -> None:
    streams = set()
    for nodes in run[1]:
        assert [n.enqueued[0] for n in nodes] == [n.enqueued[1] for n in nodes], "a clone's"
        streams |= {launch.stream for node in nodes for launch in node.launches}
        for node, first in zip(nodes, run[1][0], strict=True):
            assert [(n.kernel, n.grid, n.values) for n in node.launches] == [
                (n.kernel, n.grid, n.values) for n in first.launches
            ]
    assert streams == set(range(1, THREADS + 1))


def test_what_enqueue_asks_of_the_driver(run: tuple[list[Case], list[list[Played]]]) -> None:
    """Launches and nothing else, so it can be captured; all else comes before."""
    for nodes in run[1]:
        for node in nodes:
            assert node.of("ready") == ["0 0 0"]
            assert node.of("done") == ["0", "0"]
            assert {call.split()[0] for call in node.enqueued[0]} == {"cuLaunchKernel"}
    calls = [call for nodes in run[1] for node in nodes for call in node.calls]
    loaded = [call for call in calls if call.startswith("cuLibraryLoadData")]
    assert len(loaded) == len(set(loaded)) == sum(v.operator in FORMS for v in VARIANTS.values())
    shared = [call for call in calls if call.startswith("cuFuncSetAttribute")]
    assert {call.split()[2] for call in shared} == {"8"}  # MAX_DYNAMIC_SHARED_SIZE_BYTES
    assert {call.split()[3] for call in shared} == {"0", "49300"}


def test_tactics_types_and_formats(run: tuple[list[Case], list[list[Played]]]) -> None:
    """Linear; gates float32, x in a type that has kernels, the others as x."""
    for case, node in zip(run[0], run[1][0], strict=True):
        count = len(tilings(case.operator, case.dtype))
        assert node.tactics == (list(range(1, count + 1)) if count > 1 else [])
        most = max(len(tilings(case.operator, dtype)) for dtype in DTYPES)
        assert node.of("early") == [str(most if most > 1 else 0)], "before the type is known"
        assert node.of("timing") == [f"{case.operator}.{KERNEL_SET}"]
        form = FORMS[case.operator]
        for name, takes in zip((*form.inputs, *form.outputs), node.takes, strict=True):
            own = "0/0" if case.dtype == "fp32" else "1/0"
            wanted = {"0/0"} if name == "gates" else {"0/0", "1/0"} if name == "x" else {own}
            assert takes == wanted, name


def test_launches_are_those_of_python(host: Host, library: Path) -> None:
    """At the network's sizes, which nobody computes here."""
    sizes = [(1, 64, 512, 512), (2, 128, 300, 333), (1, 512, 32, 32), (3, 64, 1, 64), (1, 16, 5, 7)]
    nodes = [
        Node(
            operator,
            dtype,
            [(4096, s) for s in operators.shapes_of(operator, size, each=size[0] > 1).values()],
            [8192] * len(FORMS[operator].outputs),
            16384,
            tactic=tactic,
        )
        for operator in FORMS
        for dtype in DTYPES
        for size in sizes
        for tactic in range(len(tilings(operator, dtype)) + 1)
    ]
    _, lines = host.run(library, nodes)
    for node, found in zip(nodes, played(lines), strict=True):
        shapes = [shape for _, shape in node.inputs]
        planned = launches(node.operator, node.dtype, shapes, SCALE, node.tactic)
        assert [(one.kernel, one.grid) for one in found.launches] == [
            (one.kernel, one.grid) for one in planned
        ]
        for one, wanted in zip(found.launches, planned, strict=True):
            names = list(VARIANTS[one.kernel].signature)
            numbers = dict(zip(names, one.values, strict=False))
            assert {name: numbers[name] for name in wanted.numbers} == wanted.numbers
        assert found.of("workspace") == [str(workspace(node.operator, shapes))]


def refused(host: Host, library: Path, node: Node, **environment: str) -> str:
    """The first thing that the log says of a node that does not run."""
    _, lines = host.run(library, [node], **environment)
    (one,) = played(lines)
    assert set(one.of("done")) <= {"-1"}
    assert not any(one.enqueued)
    return one.of("log")[0]


def test_what_the_kernels_cannot_do_is_said(host: Host, library: Path) -> None:
    def node(side: int = 4, experts: int = 3, outputs: int = 32, y: int = 8192) -> Node:
        shapes = [(1, 32, side, side), (outputs, 32, 1, 1), (experts, 4, 32)]
        shapes += [(experts, outputs, 4), (experts,)]
        return Node(spec.LORA_MOE_CONV, "fp16", [(4096, shape) for shape in shapes], [y])

    assert "wanted outputs a multiple of 16, found 24" in refused(host, library, node(outputs=24))
    assert "wanted less than 16777216" in refused(host, library, node(side=4096))
    said = refused(host, library, node(experts=2))
    assert "wanted 3 experts with 4 rows of lora_A, found 2 with 4" in said
    assert "the address of y is no multiple of 16" in refused(host, library, node(y=8200))
    assert "compute capability 7.5" in refused(host, library, node(), SM="75")
    said = refused(host, library, node(), NO_CONTEXT="1")
    assert "the calling thread: CUDA_ERROR_INVALID_CONTEXT" in said


@pytest.mark.parametrize(
    ("sm", "ending"), [(80, "sm_80.cubin"), (86, "sm_80.cubin"), (90, "sm_90.cubin"), (121, "ptx")]
)
def test_the_best_image_is_loaded(host: Host, library: Path, sm: int, ending: str) -> None:
    shapes = [(1, 32, 4, 4), (1, 32, 1, 1), (1, 32, 1, 1)]
    node = Node(spec.NORM_SCALE_ADD, "fp16", [(4096, shape) for shape in shapes], [8192])
    _, lines = host.run(library, [node], SM=str(sm))
    loaded = [call for call in played(lines)[0].calls if call.startswith("cuLibraryLoadData")]
    assert len(loaded) == 4
    assert all(call.endswith(ending) for call in loaded)


def test_another_version_of_tensorrt_is_refused(host: Host, library: Path) -> None:
    ((log, creators),) = host.run(library, [], version=110400)
    assert "it was built for TensorRT 10, here is TensorRT 11" in log
    assert creators == "creators 0"


def test_hosts_that_only_open_it(host: Host, library: Path) -> None:
    (lines,) = host.run(library, [], LORAIR_STATIC_PLUGINS="1")
    assert lines == [*(f"registered {name} in lorair" for name in FORMS), "creators 7"]


def test_the_launchers_do_not_branch_on_sizes() -> None:
    with pytest.raises(TypeError, match="the launchers branch on"):
        bool(Symbol("n") >= 1)


def test_all_kernels_of_an_operator_have_to_be_there(folder: Path) -> None:
    kernels = [k for k in read_index(folder) if ".mean." not in k.name]
    with pytest.raises(BundleError, match=rf"none of {spec.LORA_MOE_DEPTHWISE_GATE}.*--kernels"):
        write_table(kernels, KERNEL_SET)
    names = {kernel.name for kernel in kernels if "fp16" in kernel.name}
    assert dtypes_of(spec.NORM_SCALE_ADD, names) == ["fp16"]


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
