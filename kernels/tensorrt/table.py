"""The plugin's table in C++: every operator, its kernels and how each of them is launched.

The formulas are those of `launches.py` and `spec.output_shapes`, which are asked with
symbols in the place of sizes; entries, arguments and shared memory are the index's. So the
library cannot launch otherwise than Python does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lorair.kernels.launches import DTYPES, DType, Launch, Way, plan, suits, ways, workspace
from lorair.kernels.spec import DOMAIN, DOMAIN_VERSION, FORMS, GATES, LORA_MOE_CONV, output_shapes
from lorair.kernels.tiles import ALIGNMENT, MAX_PIXELS
from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.errors import BundleError

_TYPES: Final[dict[DType, str]] = {"fp16": "kHALF", "bf16": "kBF16", "fp32": "kFLOAT"}
_SCRATCH: Final = ("nothing", "nothing")
"""The two pointers that every kernel of Triton takes at the end; ours use neither."""

_NEWEST: Final = 9999
"""A compute capability above all."""


@dataclass(frozen=True)
class Symbol:
    """An integer of a running C++ program: arithmetic with it writes a formula down."""

    text: str

    def __mul__(self, other: Any) -> "Symbol":
        return Symbol(f"({self} * {other})")

    def __rmul__(self, other: Any) -> "Symbol":
        return Symbol(f"({other} * {self})")

    def __neg__(self) -> "Symbol":
        return Symbol(f"(-{self})")

    def __floordiv__(self, other: Any) -> "Symbol":
        return Symbol(f"divided({self}, {other})")

    def __ge__(self, other: Any) -> "Symbol":
        return Symbol(f"({self} >= {other})")

    def __and__(self, other: Any) -> "Symbol":
        return Symbol(f"({self} && {other})")

    def __or__(self, other: bool) -> "Symbol":
        return Symbol("true") if other is True else self

    def __bool__(self) -> bool:
        raise TypeError(f"the launchers branch on {self}, which C++ computes")

    def __str__(self) -> str:
        return self.text


def dtypes_of(operator: str, names: Iterable[str]) -> list[DType]:
    """Return the types of x in which all kernels of an operator are among these names."""
    there = set(names)
    return [
        dtype for dtype in DTYPES if {launch.kernel for launch in _all(operator, dtype)} <= there
    ]


def write_table(kernels: Sequence[Compiled], kernel_set: str) -> tuple[str, list[str]]:
    """Return the table, and the kernels' files in the order in which it numbers them.

    kernels: of an index. kernel_set: what names it, its sha256.

    Raises BundleError: kernels of an operator are missing.
    """
    by_name: dict[str, list[Compiled]] = {}
    for kernel in sorted(kernels, key=lambda k: (k.name, k.preference), reverse=True):
        if kernel.operator in FORMS:
            by_name.setdefault(kernel.name, []).append(kernel)
    for operator in FORMS:
        if not dtypes_of(operator, by_name):
            raise BundleError(
                f"cannot make plugins of these kernels, there are none of {operator}",
                wanted="all kernels of an operator in one type",
                found=f"{len(by_name)} kernels",
                hint="build the bundle again with --kernels",
            )
    files = [kernel.file for group in by_name.values() for kernel in group]
    lines = [
        "// Written by lorair.kernels.tensorrt.table: change what it was written from.",
        f'constexpr char kNamespace[] = "{DOMAIN}", kVersion[] = "{DOMAIN_VERSION}";',
        f'constexpr char kKernelSet[] = "{kernel_set}";',
        f"constexpr int64_t kAlignment = {ALIGNMENT}, kMaxPixels = {MAX_PIXELS};",
        *_names(by_name),
        *_kernels(by_name, files),
        *_operators(by_name, kernel_set),
    ]
    return "\n".join(lines) + "\n", files


def write_images(files: Sequence[str]) -> str:
    """Return the assembly that puts files into a library, each with a 0 behind it, as PTX wants."""
    lines = ['.section .rodata, "a"']
    for number, file in enumerate(files):
        name = f"lorair_image_{number}"
        lines += [".balign 64", f".globl {name}", f".hidden {name}", f"{name}:"]
        lines += [f'.incbin "{file}"', ".byte 0"]
    return "\n".join([*lines, '.section .note.GNU-stack, "", @progbits', ""])


def _names(by_name: Mapping[str, Sequence[Compiled]]) -> list[str]:
    """The names of all arguments."""
    operands = (name for form in FORMS.values() for name in (*form.inputs, *form.outputs))
    found = (name for group in by_name.values() for name, _ in group[0].arguments)
    names = [*dict.fromkeys((*operands, *found)), _SCRATCH[0]]
    most = max(len(group[0].arguments) for group in by_name.values()) + len(_SCRATCH)
    return [
        f"struct At {{ enum : Name {{ {', '.join(names)}, count }}; }};",
        f"constexpr char const* kNames[] = {{{_quoted(names)}}};",
        f"constexpr int kMostArguments = {most};",
    ]


def _kernels(by_name: Mapping[str, Sequence[Compiled]], files: Sequence[str]) -> list[str]:
    number = {file: i for i, file in enumerate(files)}
    lines = [f'extern "C" unsigned char const lorair_image_{i}[];' for i in range(len(files))]
    rows = []
    for i, (name, group) in enumerate(by_name.items()):
        one = group[0]
        _check_alike(group)
        images = ", ".join(
            f"{{{least}, {most}, {kernel.shared}, lorair_image_{number[kernel.file]}}}"
            for kernel in group
            for least, most in [_reach(kernel)]
        )
        arguments = (*(name for name, _ in one.arguments), *_SCRATCH)
        lines += [
            f"constexpr Image kImages{i}[] = {{{images}}};",
            f"constexpr Name kArguments{i}[] = {{{_at(arguments)}}};",
            f"constexpr Name kAligned{i}[] = {{{_at(one.aligned)}}};",
        ]
        numbers = (one.block[0], *(int(one.constants.get(n, 0)) for n in ("EXPERTS", "RANK")))
        rows.append(
            f'    {{"{name}", "{one.entry}", kImages{i}, kArguments{i}, kAligned{i}, '
            f"{', '.join(map(str, numbers))}}},"
        )
    return [*lines, "constexpr Kernel kKernels[] = {", *rows, "};"]


def _operators(by_name: Mapping[str, Sequence[Compiled]], kernel_set: str) -> list[str]:
    number = {name: i for i, name in enumerate(by_name)}
    lines, rows = [], []
    for i, (operator, form) in enumerate(FORMS.items()):
        lines += [
            f"constexpr Name kInputs{i}[] = {{{_at(form.inputs)}}};",
            f"constexpr Name kOutputs{i}[] = {{{_at(form.outputs)}}};",
        ]
        chosen: list[str] = []
        for dtype in dtypes_of(operator, by_name):
            for way in ways(operator, dtype):
                name = f"kLaunches{i}_{len(chosen)}"
                planned = plan(operator, dtype, way, _symbols(operator), _SCALE)
                made = ", ".join(
                    _launch(launch, number[launch.kernel], by_name[launch.kernel][0])
                    for launch in planned
                )
                lines.append(f"constexpr Launch {name}[] = {{{made}}};")
                chosen.append(f"    {{DataType::{_TYPES[dtype]}, {_way(operator, way)}, {name}}},")
        lines += [f"constexpr Way kWays{i}[] = {{", *chosen, "};"]
        scaled, pointwise = "scale" in _numbers(operator), operator == LORA_MOE_CONV
        rows.append(
            f'    {{"{operator}", "{operator}.{kernel_set}", {scaled:d}, {pointwise:d}, '
            f"kInputs{i}, kOutputs{i}, kWays{i}, {_shapes(operator)}, {_workspace(operator)}}},"
        )
    return [*lines, "constexpr Operator kOperators[] = {", *rows, "};"]


_SCALE: Any = Symbol("scale")
_INPUTS: Final = "[[maybe_unused]] Dims const* in"


def _launch(launch: Launch, number: int, kernel: Compiled) -> str:
    kinds = dict(kernel.arguments)
    set_numbers = " ".join(
        f"values[At::{name}].real = {value};"
        if kinds[name] == "fp32"
        else f"values[At::{name}].integer = static_cast<int32_t>({value});"
        for name, value in launch.numbers.items()
    )
    grid = ", ".join(map(str, launch.grid))
    return (
        f"{{&kKernels[{number}], []({_INPUTS}, [[maybe_unused]] float scale, Grid& grid, "
        f"Value* values) {{ grid = {{{grid}}}; {set_numbers} }}}}"
    )


def _way(operator: str, way: Way) -> str:
    answer = suits(operator, way, _symbols(operator))
    text = "true" if answer is True else str(answer)
    return f"{way.tactic}, []({_INPUTS}) -> bool {{ return {text}; }}"


def _shapes(operator: str) -> str:
    results = output_shapes(
        operator,
        _symbols(operator),
        lambda dim: Symbol(f"halved(builder, {dim})"),
        Symbol("one(builder)"),
    )
    assigned = " ".join(
        f"out[{i}] = {{{len(shape)}, {{{', '.join(map(str, shape))}}}}};"
        for i, shape in enumerate(results)
    )
    return (
        "[](DimsExprs const* in, [[maybe_unused]] IExprBuilder& builder, DimsExprs* out) "
        f"{{ {assigned} }}"
    )


def _workspace(operator: str) -> str:
    return f"[]({_INPUTS}) -> int64_t {{ return {workspace(operator, _symbols(operator))}; }}"


def _symbols(operator: str) -> Any:
    """The shapes of an operator's inputs in C++."""
    return [
        [Symbol(f"in[{i}].d[{axis}]") for axis in range(4)]
        if name != GATES
        else [Symbol(f"in[{i}].d[0]"), Symbol(f"stride(in[{i}])")]
        for i, name in enumerate(FORMS[operator].inputs)
    ]


def _all(operator: str, dtype: DType) -> list[Launch]:
    inputs = _symbols(operator)
    return [
        one for way in ways(operator, dtype) for one in plan(operator, dtype, way, inputs, _SCALE)
    ]


def _numbers(operator: str) -> set[str]:
    return {name for launch in _all(operator, "fp32") for name in launch.numbers}


def _reach(kernel: Compiled) -> tuple[int, int]:
    """The least and the greatest compute capability that a kernel runs on."""
    runs = [sm for sm in range(10, 300) if kernel.runs_on(sm)]
    return runs[0], _NEWEST if kernel.runs_on(_NEWEST) else runs[-1]


def _check_alike(group: Sequence[Compiled]) -> None:
    """One row of the table stands for a kernel on every GPU."""
    for name in ("entry", "arguments", "aligned", "constants", "block"):
        assert all(getattr(k, name) == getattr(group[0], name) for k in group), (
            group[0].name,
            name,
        )


def _at(names: Iterable[str]) -> str:
    return ", ".join(f"At::{name}" for name in names)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
