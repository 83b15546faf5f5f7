"""Checkpoints of the pre-training stage, in which the convolutions have no experts yet."""

from collections.abc import Mapping

import torch
from torch import Tensor

StateDict = Mapping[str, Tensor]

CLASSES = ("all",)
"""What its only class is called: every picture is restored alike."""


def has_experts(tensors: StateDict) -> bool:
    """Whether a restoration network's tensors hold any."""
    return any(name.endswith(".lora_A_list") for name in tensors)


def with_one_expert(tensors: StateDict) -> StateDict:
    """The same network, with an expert of rank 1 in each convolution that adds nothing.

    A convolution may be called as it is (`intro.weight`) or as with experts
    (`intro.conv.weight`). Tensors with experts, or of no such network, are returned as they are.
    """
    if has_experts(tensors) or not {"intro.weight", "intro.conv.weight"} & set(tensors):
        return tensors
    out = {_renamed(name, tensors): tensor for name, tensor in tensors.items()}
    for name in [name for name in out if name.endswith(".conv.weight")]:
        outputs, inputs, k = out[name].shape[:3]
        owner = name.removesuffix(".conv.weight")
        if ".blocks." in owner and owner.endswith(".conv2"):  # depthwise
            outputs, inputs = inputs, outputs
        out[f"{owner}.lora_A_list"] = torch.zeros(1, k, inputs * k)
        out[f"{owner}.lora_B_list"] = torch.zeros(1, outputs * k, k)
    return out


def one_class(router: StateDict) -> StateDict:
    """The router with the first class alone, whose gate is always 1; the prior stays."""
    return {k: t[:1] if k.startswith("cls_head.") else t for k, t in router.items()}


def _renamed(name: str, tensors: StateDict) -> str:
    owner, _, leaf = name.rpartition(".")
    weight = tensors.get(f"{owner}.weight")
    is_plain = weight is not None and weight.dim() == 4 and not owner.endswith(".conv")
    return f"{owner}.conv.{leaf}" if is_plain else name
