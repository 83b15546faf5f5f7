"""Launching the operators' kernels on PyTorch's tensors.

The forms are those that are compiled into bundles (`variants.py`), grids and numbers those
of every other host (`launches.py`). What a form takes for granted, such as alignment, Triton
finds out itself from the arguments.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

import torch
from torch import Tensor

from lorair.kernels.launches import HEURISTIC, DType, launches, workspace
from lorair.kernels.spec import FORMS, LORA_MOE_DEPTHWISE_GATE, output_shapes
from lorair.kernels.tiles import FUSION
from lorair.kernels.variants import Variant, variants

_DTYPES: Final[dict[torch.dtype, DType]] = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
}


def run(
    operator: str, tensors: Mapping[str, Tensor], scale: float = 0.0, tactic: int = HEURISTIC
) -> list[Tensor]:
    """Compute an operator on the device of its inputs, accumulated in float32, in x's type.

    Args:
        operator: one of `spec.OPERATORS`.
        tensors: its inputs by name, shapes as in `spec.py`: x float32, float16 or bfloat16, all
            others but the gates as x. gates: float32 (E), or (N, E) for each picture its own.
            LoRAMoEConv is 1x1 here, and may have a bias.
        scale: alpha / rank; NormScaleAdd has none.
        tactic: which tiling of a 1x1 convolution; by default the one that suits the shapes.

    Raises:
        EngineError: planes are too large for the kernels.
    """
    form, x, dtype = FORMS[operator], tensors["x"], _DTYPES[tensors["x"].dtype]
    shapes = [tensors[name].shape for name in form.inputs]
    results = [x.new_empty(s) for s in output_shapes(operator, shapes, lambda n: n // 2, 1)]
    sums = torch.empty(workspace(operator, shapes) // 4, device=x.device)
    pointers = {name: tensor.contiguous() for name, tensor in tensors.items()}
    pointers |= dict(zip(form.outputs, results, strict=True)) | {"sums": sums}
    forms = _variants(*_experts(operator, tensors), dtype)
    for launch in launches(operator, dtype, shapes, scale, tactic):
        variant = forms[launch.kernel]
        values = {**variant.constants, **pointers, **launch.numbers}
        variant.function[launch.grid](
            *(values[name] for name in variant.function.arg_names),
            num_warps=variant.warps, num_stages=variant.stages, **FUSION,
        )  # fmt: skip
    return results


def _experts(operator: str, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Number and rank of the experts; of an operator without any, whatever."""
    if "lora_A" not in tensors:
        return 1, 1
    experts, rows, _ = tensors["lora_A"].shape
    return experts, rows // 3 if operator == LORA_MOE_DEPTHWISE_GATE else rows


@cache
def _variants(experts: int, rank: int, dtype: DType) -> dict[str, Variant]:
    return {variant.name: variant for variant in variants(experts, rank, dtype)}
