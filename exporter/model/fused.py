"""The restoration network's stages in the form that is exported: a block is six operators.

Made from the checkpoint's form by `exporter/model/fold.py`; parameters keep their names.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorair.exporter.model.config import LORA_SCALE
from lorair.exporter.model.lora_moe import LoRAMoEConv2d
from lorair.kernels.torch_ops import (
    lora_moe_conv_add,
    lora_moe_depthwise_gate,
    norm_lora_moe_conv,
    norm_scale_add,
)


class _Experts(nn.Module):
    """The parameters of a convolution; subclasses say what is fused with it."""

    def __init__(self, source: LoRAMoEConv2d) -> None:
        super().__init__()
        self.conv = source.conv
        self.lora_A_list, self.lora_B_list = source.lora_A_list, source.lora_B_list

    def weights(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """weight, lora_A, lora_B, gates, bias: the operators' common arguments."""
        assert self.conv.bias is not None
        return self.conv.weight, self.lora_A_list, self.lora_B_list, gates, self.conv.bias


class NormConv(_Experts):
    """1x1 behind a LayerNorm without affine part, with SimpleGate behind if `gate`.

    lora_bias: (E, out), what the folded affine part adds to the bias for each expert.
    """

    def __init__(self, source: LoRAMoEConv2d, lora_bias: Tensor, *, gate: bool) -> None:
        super().__init__(source)
        self.lora_bias = nn.Parameter(lora_bias)
        self.gate = gate

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) to (B, out, H, W), or to half of out with `gate`."""
        weights = self.weights(gates)
        return norm_lora_moe_conv(x, *weights, self.lora_bias, scale=LORA_SCALE, gate=self.gate)


class DepthwiseGate(_Experts):
    """Depthwise 3x3, SimpleGate, pooled mean."""

    def forward(self, x: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 2c, H, W) to (B, c, H, W) and (B, c, 1, 1)."""
        return lora_moe_depthwise_gate(x, *self.weights(gates), scale=LORA_SCALE)


class ConvAdd(_Experts):
    """1x1 with a residual behind, and a scale for each channel in front if one is given."""

    def forward(
        self, x: Tensor, gates: Tensor, residual: Tensor, channel_scale: Tensor | None = None
    ) -> Tensor:
        """Map (B, c, H, W), channel_scale (B, c, 1, 1) to the residual's shape."""
        return lora_moe_conv_add(
            x, *self.weights(gates), residual, scale=LORA_SCALE, channel_scale=channel_scale
        )


class FusedBlock(nn.Module):
    """A NAFBlock as six operators."""

    def __init__(
        self,
        conv1: NormConv,
        conv2: DepthwiseGate,
        sca: nn.ModuleDict,
        conv3: ConvAdd,
        conv4: NormConv,
        conv5: ConvAdd,
    ) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv1, conv2, conv3
        self.sca = sca
        self.conv4, self.conv5 = conv4, conv5

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) to the same."""
        u, mean = self.conv2(self.conv1(x, gates), gates)
        y: Tensor = self.conv3(u, gates, x, self.sca["1"](mean, gates))
        out: Tensor = self.conv5(self.conv4(y, gates), gates, y)
        return out


class FusedStage(nn.Module):
    """A ModulatedStage: the modulation's norm, affine part and beta are one operator.

    scale, shift: (1, c, 1, 1), beta times the norm's weight and bias.
    """

    def __init__(
        self, modulation: nn.ModuleList, blocks: nn.ModuleList, scale: Tensor, shift: Tensor
    ) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = modulation
        self.blocks = blocks
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)

    def forward(self, x: Tensor, d: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) and d (B, prior, 1, 1) to (B, c, H, W)."""
        m = self.conv2(F.gelu(self.conv1(d, gates)), gates)
        m = torch.sigmoid(self.conv4(F.relu(self.conv3(m, gates)), gates))
        x = norm_scale_add(x, m * self.scale, m * self.shift)
        for block in self.blocks:
            x = block(x, gates)
        return x
