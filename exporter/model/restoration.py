"""The restoration network: a NAFNet U-net whose convolutions all carry experts.

Modules and parameters are named as in the released checkpoints. Channels are written c.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn, zeros

from lorair.exporter.model.config import LORA_SCALE, RestorationConfig
from lorair.exporter.model.lora_moe import LoRAMoEConv2d
from lorair.kernels.torch_reference import channel_norm, global_mean, merge_experts, simple_gate

ConvFactory = Callable[..., LoRAMoEConv2d]

PRIOR_WIDTH = 128
"""Channels behind the first convolution of a modulation."""


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(zeros(channels) + 1)
        self.bias = nn.Parameter(zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c, H, W) to the same."""
        normed = channel_norm(x.float())
        return (normed * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class NAFBlock(nn.Module):
    """One block: gated depthwise convolution with channel attention, then a gated MLP."""

    def __init__(self, channels: int, conv: ConvFactory) -> None:
        super().__init__()
        c = channels
        self.conv1 = conv(c, 2 * c, 1)
        self.conv2 = conv(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.conv3 = conv(c, c, 1)
        # sca.0 is the pooling, which has no parameters.
        self.sca = nn.ModuleDict({"1": conv(c, c, 1)})
        self.conv4 = conv(c, 2 * c, 1)
        self.conv5 = conv(c, c, 1)
        self.norm1 = LayerNorm2d(c)
        self.norm2 = LayerNorm2d(c)
        self.beta = nn.Parameter(zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(zeros(1, c, 1, 1))

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) to the same."""
        u = simple_gate(self.conv2(self.conv1(self.norm1(x), gates), gates))
        u = u * self.sca["1"](global_mean(u), gates)
        y = x + self.conv3(u, gates) * self.beta
        v = simple_gate(self.conv4(self.norm2(y), gates))
        return y + self.conv5(v, gates) * self.gamma


class ModulatedStage(nn.Module):
    """An encoder level or the middle: modulation by the prior, then blocks."""

    def __init__(self, channels: int, blocks: int, prior: int, conv: ConvFactory) -> None:
        super().__init__()
        c = channels
        self.blocks = nn.ModuleList(NAFBlock(c, conv) for _ in range(blocks))
        self.conv1 = conv(prior, PRIOR_WIDTH, 1)
        self.conv2 = conv(PRIOR_WIDTH, c, 1)
        self.conv3 = conv(c, c // 16, 1)
        self.conv4 = conv(c // 16, c, 1)
        self.norm = LayerNorm2d(c)
        self.beta = nn.Parameter(zeros(1, c, 1, 1))

    def modulation(self, d: Tensor, gates: Tensor) -> Tensor:
        """Map the embedded prior (B, prior, 1, 1) to channel weights (B, c, 1, 1) in [0, 1]."""
        m = self.conv2(F.gelu(self.conv1(d, gates)), gates)
        return self.conv4(F.relu(self.conv3(m, gates)), gates).sigmoid()

    def forward(self, x: Tensor, d: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) and d (B, prior, 1, 1) to (B, c, H, W)."""
        x = x + self.beta * (self.norm(x) * self.modulation(d, gates))
        for block in self.blocks:
            x = block(x, gates)
        return x


class PlainStage(nn.Module):
    """A decoder level: blocks only."""

    def __init__(self, channels: int, blocks: int, conv: ConvFactory) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NAFBlock(channels, conv) for _ in range(blocks))

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) to the same."""
        for block in self.blocks:
            x = block(x, gates)
        return x


class Upsampling(nn.ModuleList):
    """Twice the size, half the channels: a 1x1 convolution, then a PixelShuffle."""

    def __init__(self, conv: LoRAMoEConv2d) -> None:
        super().__init__([conv, nn.PixelShuffle(2)])

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Map (B, c, H, W) to (B, c/2, 2H, 2W)."""
        conv, shuffle = self
        return shuffle(conv(x, gates))


class RestorationNet(nn.Module):
    """The network from image, prior and gates to the restored image.

    Under `.half()` weights and activations are float16; image and result, LN's
    statistics, the pooled means and the merging of experts stay float32.
    """

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__()

        def conv(*args: int, bias: bool = True, **geometry: int) -> LoRAMoEConv2d:
            return LoRAMoEConv2d(
                *args, experts=config.num_experts, rank=config.r, bias=bias, **geometry
            )

        self.stride = config.stride
        self.intro = conv(3, config.width, 3, padding=1)
        self.ending = conv(config.width, 3, 3, padding=1)
        # intro_de.1 is the GELU between the two.
        self.intro_de = nn.ModuleDict(
            {"0": conv(config.prior, config.prior, 1), "2": conv(config.prior, config.prior, 1)}
        )
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        c = config.width
        for blocks in config.enc_blk_nums:
            self.encoders.append(ModulatedStage(c, blocks, config.prior, conv))
            self.downs.append(conv(c, 2 * c, 2, stride=2))
            c *= 2
        self.middle_blks: nn.Module = ModulatedStage(c, config.middle_blk_num, config.prior, conv)
        for blocks in config.dec_blk_nums:
            self.ups.append(Upsampling(conv(c, 2 * c, 1, bias=False)))
            c //= 2
            self.decoders.append(PlainStage(c, blocks, conv))

    def forward(self, image: Tensor, prior: Tensor, gates: Tensor) -> Tensor:
        """Restore a picture whose sides are multiples of `stride`.

        Args:
            image: (B, 3, H, W) float32 RGB in [0, 1].
            prior: (B, prior) float32 from the router.
            gates: (E) float32 for all pictures, or (B, E) for each its own.

        Returns:
            (B, 3, H, W) float32, not clamped.
        """
        dtype = self.intro.conv.weight.dtype
        d = prior.to(dtype)[:, :, None, None]
        d = F.gelu(self.intro_de["2"](F.gelu(self.intro_de["0"](d, gates)), gates))
        x = self.intro(image.to(dtype), gates)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x, d, gates)
            skips.append(x)
            x = down(x, gates)
        x = self.middle_blks(x, d, gates)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            x = up(x, gates) + skip
            x = decoder(x, gates)
        return self.ending(x, gates).float() + image

    @torch.no_grad()
    def unchanged(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes whose expert cancels the last convolution, to the bit.

        Under such an expert alone the output is the input.
        """
        last = self.ending
        if last.conv.bias is not None and last.conv.bias.any():
            return ()
        experts = last.lora_A_list, last.lora_B_list
        merged = [
            merge_experts(last.conv.weight, *experts, gates, LORA_SCALE)
            for gates in torch.eye(len(classes))
        ]
        return tuple(name for name, weight in zip(classes, merged, strict=True) if not weight.any())

    def restore(self, image: Tensor, prior: Tensor, gates: Tensor) -> Tensor:
        """Restore a picture of any size: zero-padded right and bottom, cropped back."""
        height, width = image.shape[2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        padded = F.pad(image, padding)
        return self(padded, prior, gates)[:, :, :height, :width]
