"""Which kernels a model needs, in every form they are launched in.

Needs triton: an entry holds the kernel's function. What is compiled from it is described
by `lorair.runtime.bundle.kernels.Compiled`, which needs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from lorair.kernels import spec
from lorair.kernels.forms import CONVOLUTIONS
from lorair.kernels.launches import (
    DType,
    conv_kernel,
    depthwise_kernel,
    mean_kernel,
    norm_kernel,
    tilings,
)
from lorair.kernels.tiles import DEPTHWISE, NORM, ConvTile
from lorair.kernels.triton.conv import (
    _lora_moe_conv1x1_kernel,
    _norm_scale_add_kernel,
    expert_constants,
)
from lorair.kernels.triton.depthwise import (
    MEAN_BLOCK,
    _depthwise_gate_kernel,
    _mean_kernel,
    rank_constants,
)
from lorair.kernels.triton.pictures import PICTURE_VARIANTS


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


def _convolutions(experts: int, rank: int, dtype: DType) -> Iterator[Variant]:
    for operator in CONVOLUTIONS:
        for tile in tilings(operator, dtype):
            for aligned in (True, False):
                yield _convolution(operator, experts, rank, dtype, tile, aligned)


def _convolution(
    operator: str, experts: int, rank: int, dtype: DType, tile: ConvTile, aligned: bool
) -> Variant:
    form = CONVOLUTIONS[operator]
    tensor = f"*{dtype}"
    left_out = {name: None for name in _OPTIONAL if name not in form.inputs}
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
    name = conv_kernel(operator, dtype, tile, aligned=aligned)
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
        depthwise_kernel(dtype), operator, _depthwise_gate_kernel, signature, constants,
        (*_pointers(signature), "channels"), DEPTHWISE.warps,
    )  # fmt: skip
    signature = {"sums": "*fp32", "mean": tensor, "tiles": "i32", "pixels": "i32"}
    yield Variant(
        mean_kernel(dtype), operator, _mean_kernel, signature, {"BLOCK": MEAN_BLOCK},
        _pointers(signature), 1,
    )  # fmt: skip


def _norm_scale_add(dtype: DType) -> Iterator[Variant]:
    signature = dict.fromkeys(("x", "channel_scale", "channel_shift", "y"), f"*{dtype}")
    signature |= dict.fromkeys(("channels", "pixels"), "i32")
    for aligned in (True, False):
        multiples = (*_pointers(signature), "channels", *(("pixels",) if aligned else ()))
        yield Variant(
            norm_kernel(dtype, aligned=aligned), spec.NORM_SCALE_ADD, _norm_scale_add_kernel,
            signature, NORM.constants(), multiples, NORM.warps,
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
