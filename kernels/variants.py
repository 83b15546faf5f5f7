"""Which kernels a model needs, in every form they are launched in.

Needs triton: an entry holds the kernel's function. What is compiled from it is described
by `lorair.runtime.compiled.Compiled`, which needs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from lorair.kernels import spec
from lorair.kernels.tiles import DEPTHWISE, NORM, ConvTile, conv_tiles
from lorair.kernels.triton_conv import (
    _lora_moe_conv1x1_kernel,
    _norm_scale_add_kernel,
    expert_constants,
)
from lorair.kernels.triton_depthwise import (
    MEAN_BLOCK,
    _depthwise_gate_kernel,
    _mean_kernel,
    rank_constants,
)
from lorair.kernels.triton_pictures import PICTURE_VARIANTS

DType = Literal["fp16", "bf16", "fp32"]
DTYPES: Final[tuple[DType, ...]] = ("fp16", "bf16", "fp32")

ALIGNMENT: Final = 16
"""Channels are multiples of it by the network's making. Pixels of a plane mostly are: where
they are not, rows do not start at multiples of 16 bytes, and a kernel of its own is needed."""


@dataclass(frozen=True)
class Variant:
    """One kernel in one form.

    name: its own among all.
    operator: of `spec.py`, or the picture end's name.
    function: the `@triton.jit` function.
    signature: Triton's type of each argument at run time, in order, as in "*fp16", "i32".
    constants: the values of the other arguments; None for a pointer that is left out.
    aligned: arguments that are multiples of 16 (pointers: in bytes).
    warps, stages: the launch's.
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
    """All kernels of a model whose convolutions have experts of a rank, in a storage type."""
    return [
        *_convolutions(experts, rank, dtype),
        *_depthwise(experts, rank, dtype),
        *_norm_scale_add(dtype),
        *_pictures(),
    ]


_OPTIONAL: Final = ("bias", "lora_bias", "channel_scale", "residual")


class _Form(NamedTuple):
    """Which parts of the 1x1 kernel an operator has: of `_OPTIONAL`, in front, behind."""

    pointers: tuple[str, ...]
    norm: bool = False
    gate: bool = False


_FORMS: Final = {
    # The one before a pixel shuffle; those with more than one tap are standard convolutions.
    spec.LORA_MOE_CONV: _Form(()),
    spec.NORM_LORA_MOE_CONV: _Form(("bias", "lora_bias"), norm=True),
    spec.NORM_LORA_MOE_CONV_GATE: _Form(("bias", "lora_bias"), norm=True, gate=True),
    spec.LORA_MOE_CONV_ADD: _Form(("bias", "residual")),
    spec.SCALE_LORA_MOE_CONV_ADD: _Form(("bias", "channel_scale", "residual")),
}


def _convolutions(experts: int, rank: int, dtype: DType) -> Iterator[Variant]:
    size = 4 if dtype == "fp32" else 2
    for operator, form in _FORMS.items():
        scaled = "channel_scale" in form.pointers
        for tile in conv_tiles(size, norm=form.norm, gate=form.gate, scaled=scaled):
            for aligned in (True, False):
                yield _convolution(operator, experts, rank, dtype, tile, aligned)


def _convolution(
    operator: str, experts: int, rank: int, dtype: DType, tile: ConvTile, aligned: bool
) -> Variant:
    form = _FORMS[operator]
    tensor = f"*{dtype}"
    left_out = {name: None for name in _OPTIONAL if name not in form.pointers}
    pointers = ["x", "weight", "lora_A", "lora_B", "gates", *_OPTIONAL, "y"]
    signature = {name: tensor for name in pointers if name not in left_out}
    signature["gates"] = "*fp32"
    signature |= dict.fromkeys(("channels", "outputs", "pixels", "gates_stride"), "i32")
    signature["scale"] = "fp32"
    constants = {
        **left_out,
        "NORM": form.norm,
        "GATE": form.gate,
        **expert_constants(experts, rank),
        **tile.constants(),
    }
    shape = f"{tile.m}x{tile.n}x{tile.k}"
    name = f"{operator}.{dtype}.{shape}.{'aligned' if aligned else 'any'}"
    multiples = (*_pointers(signature), "channels", "outputs", *(("pixels",) if aligned else ()))
    return Variant(
        name, operator, _lora_moe_conv1x1_kernel, signature, constants,
        multiples, tile.warps, tile.stages,
    )  # fmt: skip


def _depthwise(experts: int, rank: int, dtype: DType) -> Iterator[Variant]:
    tensor = f"*{dtype}"
    signature = dict.fromkeys(("x", "weight", "lora_A", "lora_B"), tensor)
    signature |= {"gates": "*fp32", "bias": tensor, "y": tensor, "sums": "*fp32"}
    signature |= dict.fromkeys(("channels", "height", "width", "gates_stride"), "i32")
    signature["scale"] = "fp32"
    constants = {**rank_constants(experts, 3 * rank), **DEPTHWISE.constants()}
    operator = spec.LORA_MOE_DEPTHWISE_GATE
    yield Variant(
        f"{operator}.{dtype}", operator, _depthwise_gate_kernel, signature, constants,
        (*_pointers(signature), "channels"), DEPTHWISE.warps,
    )  # fmt: skip
    signature = {"sums": "*fp32", "mean": tensor, "tiles": "i32", "pixels": "i32"}
    yield Variant(
        f"{operator}.mean.{dtype}", operator, _mean_kernel, signature, {"BLOCK": MEAN_BLOCK},
        _pointers(signature), 1,
    )  # fmt: skip


def _norm_scale_add(dtype: DType) -> Iterator[Variant]:
    signature = dict.fromkeys(("x", "channel_scale", "channel_shift", "y"), f"*{dtype}")
    signature |= dict.fromkeys(("channels", "pixels"), "i32")
    for aligned in (True, False):
        multiples = (*_pointers(signature), "channels", *(("pixels",) if aligned else ()))
        name = f"{spec.NORM_SCALE_ADD}.{dtype}.{'aligned' if aligned else 'any'}"
        yield Variant(
            name, spec.NORM_SCALE_ADD, _norm_scale_add_kernel, signature, NORM.constants(),
            multiples, NORM.warps,
        )  # fmt: skip


def _pictures() -> Iterator[Variant]:
    """In float32, whatever the model's type: so are the graphs' inputs and outputs."""
    for found in PICTURE_VARIANTS:
        if "16" not in found.name.rpartition("_")[2]:
            yield Variant(
                found.name, found.name.removesuffix("_fp32"), found.kernel, found.signature,
                found.constants, _pointers(found.signature), found.num_warps,
            )  # fmt: skip


def _pointers(signature: dict[str, str]) -> tuple[str, ...]:
    return tuple(name for name, kind in signature.items() if kind.startswith("*"))
