"""Which kernels a model needs, in every form they are launched in.

Needs triton: an entry holds the kernel's function. What is compiled from it is described
by `lorair.runtime.bundle.kernels.Compiled`, which needs nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import triton

from lorair.kernels import spec
from lorair.kernels.launches import DType, conv_kernel, depthwise_kernels, norm_kernel, tilings
from lorair.kernels.spec import CONVOLUTIONS
from lorair.kernels.tiles import DEPTHWISE, MEAN_BLOCK, NORM
from lorair.kernels.triton import pictures
from lorair.kernels.triton.conv import _lora_moe_conv1x1_kernel, _norm_scale_add_kernel
from lorair.kernels.triton.depthwise import _depthwise_gate_kernel, _mean_kernel


@dataclass(frozen=True)
class Variant:
    """One kernel in one form.

    name: its own among all.
    operator: one of `spec.OPERATORS`, or the name of a kernel in `triton/pictures.py`.
    function: the `@triton.jit` function.
    signature: Triton's type of each argument at run time, in order, as in "*fp16", "i32".
    constants: the values of the other arguments; None for a pointer that is left out.
    aligned: arguments that are multiples of 16 (pointers: in bytes).
    warps, stages: of the launch.
    """

    name: str
    operator: str
    function: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    aligned: tuple[str, ...]
    warps: int
    stages: int = 3


def variants(experts: int, rank: int, dtype: DType) -> list[Variant]:
    """Return all kernels of a model whose convolutions have experts of a rank, in a type."""
    return [
        *_convolutions(experts, rank, dtype),
        *_depthwise(experts, rank, dtype),
        *_norm_scale_add(dtype),
        *picture_variants(),
    ]


def _types(dtype: DType) -> Mapping[str, str]:
    """Triton's type of every argument that an operator's kernel may have."""
    tensors = "x weight lora_A lora_B bias lora_bias channel_scale channel_shift residual y mean"
    integers = "channels outputs height width pixels tiles gates_stride"
    return {
        **dict.fromkeys(tensors.split(), f"*{dtype}"),
        **dict.fromkeys(integers.split(), "i32"),
        **{"gates": "*fp32", "sums": "*fp32", "scale": "fp32"},
    }


def _variant(
    name: str,
    operator: str,
    function: Any,
    types: Mapping[str, str],
    constants: dict[str, Any],
    multiples: tuple[str, ...],
    warps: int,
    stages: int = 3,
) -> Variant:
    """The variant whose arguments, but for the constants, have these types, in their order."""
    signature = {n: types[n] for n in function.arg_names if n not in constants}
    aligned = (*(n for n, kind in signature.items() if kind.startswith("*")), *multiples)
    return Variant(name, operator, function, signature, constants, aligned, warps, stages)


def _rows(aligned: bool) -> tuple[str, ...]:
    return ("pixels",) if aligned else ()


def _convolutions(experts: int, rank: int, dtype: DType) -> Iterator[Variant]:
    # A matrix product's inner side is at least 16.
    block = max(16, triton.next_power_of_2(rank))
    ranks = {"EXPERTS": experts, "RANK": rank, "RANK_BLOCK": block}
    optional = ("bias", "lora_bias", "channel_scale", "residual")
    for operator, form in CONVOLUTIONS.items():
        left_out = {name: None for name in optional if name not in form.inputs}
        parts = {**left_out, "NORM": form.norm, "GATE": form.gate, **ranks}
        for tile in tilings(operator, dtype):
            for aligned in (True, False):
                yield _variant(
                    conv_kernel(operator, dtype, tile, aligned=aligned), operator,
                    _lora_moe_conv1x1_kernel, _types(dtype), {**parts, **tile.constants()},
                    ("channels", "outputs", *_rows(aligned)), tile.warps, tile.stages,
                )  # fmt: skip


def _depthwise(experts: int, rank: int, dtype: DType) -> Iterator[Variant]:
    operator = spec.LORA_MOE_DEPTHWISE_GATE
    conv, mean = depthwise_kernels(dtype)
    rows = 3 * rank
    ranks = {"EXPERTS": experts, "RANK": rows, "RANK_BLOCK": triton.next_power_of_2(rows)}
    yield _variant(
        conv, operator, _depthwise_gate_kernel, _types(dtype),
        {**ranks, **DEPTHWISE.constants()}, ("channels",), DEPTHWISE.warps,
    )  # fmt: skip
    yield _variant(mean, operator, _mean_kernel, _types(dtype), {"BLOCK": MEAN_BLOCK}, (), 1)


def _norm_scale_add(dtype: DType) -> Iterator[Variant]:
    for aligned in (True, False):
        yield _variant(
            norm_kernel(dtype, aligned=aligned), spec.NORM_SCALE_ADD, _norm_scale_add_kernel,
            _types(dtype), NORM.constants(), ("channels", *_rows(aligned)), NORM.warps,
        )  # fmt: skip


def picture_variants() -> Iterator[Variant]:
    """Yield the kernels for pictures; planes are float32, as the graphs' inputs and outputs."""
    integers = "taps height width new_width padded_height padded_width side tiles"
    types = {
        **dict.fromkeys(("first", "counts", "coefficients", "bad"), "*i32"),
        **dict.fromkeys(integers.split(), "i32"),
        **{"resized": "*u8", "views": "*fp32", "planes": "*fp32"},
    }
    rows, columns, copy = pictures.RESIZE_ROWS, pictures.RESIZE_COLUMNS, pictures.COPY
    for name, kernel, (constants, warps), pixels, peak in (
        ("resize_rows", pictures._resize_rows_kernel, rows, "u8", {}),
        ("resize_columns_fp32", pictures._resize_columns_kernel, columns, "u8", {}),
        ("unpack_u8_fp32", pictures._unpack_kernel, copy, "u8", {"PEAK": 255}),
        ("pack_u8_fp32", pictures._pack_kernel, copy, "u8", {"PEAK": 255}),
        ("unpack_u16_fp32", pictures._unpack_kernel, copy, "u16", {"PEAK": 65535}),
        ("pack_u16_fp32", pictures._pack_kernel, copy, "u16", {"PEAK": 65535}),
    ):
        operator, named = name.removesuffix("_fp32"), {**types, "pixels": f"*{pixels}"}
        yield _variant(name, operator, kernel, named, {**peak, **constants}, (), warps)
