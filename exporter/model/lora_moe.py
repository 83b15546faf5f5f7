"""Gates and the convolution that every layer of the restoration network is made of."""

import torch
from torch import Tensor, nn

from lorair.exporter.model.config import LORA_SCALE
from lorair.kernels.torch_ops import lora_moe_conv


def gates_from_logits(logits: Tensor, top_k: int) -> Tensor:
    """Return the softmax over the top_k largest logits; every other gate is exactly 0.

    Args:
        logits: (B, E) float.
        top_k: 1 to E.

    Returns:
        (B, E) float32, each row summing to 1.
    """
    values, indices = logits.float().topk(top_k, dim=-1)
    weights = values.softmax(dim=-1)
    # A comparison with every expert's number instead of a scatter: every exporter and
    # engine builder has it.
    experts = torch.arange(logits.shape[-1], device=logits.device)
    chosen = (indices[..., None] == experts).to(weights.dtype)
    return (chosen * weights[..., None]).sum(dim=1)


class LoRAMoEConv2d(nn.Module):
    """A convolution with `experts` low-rank updates mixed by gates.

    The released code's `Conv2dMix`: the same parameter names and shapes; see
    `lorair.kernels.torch_reference.merge_experts` for the formula.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        experts: int,
        rank: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        k = kernel_size
        self.conv = nn.Conv2d(
            in_channels, out_channels, k, stride, padding, groups=groups, bias=bias
        )
        self.lora_A_list = nn.Parameter(torch.zeros(experts, rank * k, in_channels * k))
        self.lora_B_list = nn.Parameter(torch.zeros(experts, out_channels // groups * k, rank * k))
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Map (B, in, H, W), gates (E) or (B, E), to (B, out, H', W') in x's dtype."""
        return lora_moe_conv(
            x,
            self.conv.weight,
            self.lora_A_list,
            self.lora_B_list,
            gates,
            self.conv.bias,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            scale=LORA_SCALE,
        )
