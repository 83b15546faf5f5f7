"""The checkpoint's network to the exported one: equal for any gates, with less to compute.

- LayerNorm's affine part (w, b) goes into the 1x1 convolution behind it:
  `W(n*w + b) = (W diag(w)) n + W b`, so weight and every expert's A take diag(w), the bias
  takes `weight @ b`, and what the experts add, `scale * B_e A_e b`, becomes `lora_bias`.
- beta and gamma go into the rows of the convolution before them: weight, B and bias.
- What is left of a block are six operators, see `model/fused.py`.

Products are formed in float64 and rounded once.
"""

import copy

import torch
from torch import Tensor, nn

from lorair.exporter.model.config import LORA_SCALE
from lorair.exporter.model.fused import ConvAdd, DepthwiseGate, FusedBlock, FusedStage, NormConv
from lorair.exporter.model.lora_moe import LoRAMoEConv2d
from lorair.exporter.model.restoration import (
    LayerNorm2d,
    ModulatedStage,
    NAFBlock,
    PlainStage,
    RestorationNet,
)


def fold(net: RestorationNet) -> RestorationNet:
    """Return a copy of the network in the form that is exported.

    Args:
        net: in float32, as loaded.

    Returns:
        A network whose encoders, middle and decoders are fused; the same `forward`.
    """
    folded = copy.deepcopy(net)
    with torch.no_grad():
        for stages in (folded.encoders, folded.decoders):
            for number, stage in enumerate(stages.children()):
                stages[number] = _stage(stage)
        folded.middle_blks = _stage(folded.middle_blks)
    return folded


def _stage(stage: nn.Module) -> nn.Module:
    assert isinstance(stage, ModulatedStage | PlainStage)
    blocks = nn.ModuleList(_block(block) for block in stage.blocks)
    if isinstance(stage, PlainStage):
        stage.blocks = blocks
        return stage
    scale, shift = (stage.beta * v[:, None, None] for v in (stage.norm.weight, stage.norm.bias))
    modulation = nn.ModuleList([stage.conv1, stage.conv2, stage.conv3, stage.conv4])
    return FusedStage(modulation, blocks, scale, shift)


def _block(block: nn.Module) -> FusedBlock:
    assert isinstance(block, NAFBlock)
    return FusedBlock(
        conv1=_behind_norm(block.conv1, block.norm1, gate=False),
        conv2=DepthwiseGate(block.conv2),
        sca=block.sca,
        conv3=ConvAdd(_scale_rows(block.conv3, block.beta)),
        conv4=_behind_norm(block.conv4, block.norm2, gate=True),
        conv5=ConvAdd(_scale_rows(block.conv5, block.gamma)),
    )


def _behind_norm(conv: LoRAMoEConv2d, norm: LayerNorm2d, *, gate: bool) -> NormConv:
    w, b = norm.weight.double(), norm.bias.double()
    weight, A, B = (t.double() for t in (conv.conv.weight, conv.lora_A_list, conv.lora_B_list))
    assert conv.conv.bias is not None
    bias = conv.conv.bias.double() + weight[:, :, 0, 0] @ b
    # (E, out, r) @ (E, r, 1)
    lora_bias = LORA_SCALE * (B @ (A @ b)[..., None])[..., 0]
    _set(conv.conv.weight, weight * w[:, None, None])
    _set(conv.conv.bias, bias)
    _set(conv.lora_A_list, A * w)
    return NormConv(conv, lora_bias.float(), gate=gate)


def _scale_rows(conv: LoRAMoEConv2d, factor: Tensor) -> LoRAMoEConv2d:
    """A 1x1 convolution times (1, out, 1, 1)."""
    rows = factor.double().flatten()
    assert conv.conv.bias is not None
    _set(conv.conv.weight, conv.conv.weight * rows[:, None, None, None])
    _set(conv.lora_B_list, conv.lora_B_list * rows[:, None])
    _set(conv.conv.bias, conv.conv.bias * rows)
    return conv


def _set(parameter: Tensor, value: Tensor) -> None:
    parameter.copy_(value)
