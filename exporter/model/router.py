"""The router: a CLIP vision tower, an extractor and a head.

Module names are those of the released checkpoint, which are in turn those of
`transformers.CLIPVisionModelWithProjection`; `pre_layrnorm` is spelt as there.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorair.exporter.model.config import RouterConfig
from lorair.exporter.model.lora_moe import gates_from_logits

VIEWS = 5
"""The whole picture and its four quarters."""

ALL: Final = slice(None)
CLASS_TOKEN: Final = slice(1)


class Embeddings(nn.Module):
    """Patches and a class token, each with its position."""

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden))
        self.patch_embedding = nn.Conv2d(
            3, config.hidden, config.patch, stride=config.patch, bias=False
        )
        self.position_embedding = nn.Embedding(config.tokens, config.hidden)

    def forward(self, views: Tensor) -> Tensor:
        """Map (N, 3, S, S) to (N, tokens, hidden)."""
        patches = self.patch_embedding(views).flatten(2).transpose(1, 2)
        token = self.class_embedding.expand(patches.shape[0], 1, -1)
        return torch.cat([token, patches], dim=1) + self.position_embedding.weight


class Attention(nn.Module):
    """Multi-head self-attention; the softmax in float32."""

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.k_proj = nn.Linear(config.hidden, config.hidden)
        self.v_proj = nn.Linear(config.hidden, config.hidden)
        self.q_proj = nn.Linear(config.hidden, config.hidden)
        self.out_proj = nn.Linear(config.hidden, config.hidden)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, wanted: slice = ALL) -> Tensor:
        """Map (N, tokens, hidden) to the same, of the tokens that are wanted."""
        q, k, v = self.q_proj(x[:, wanted]), self.k_proj(x), self.v_proj(x)
        mixed = _mixed(self._split(q), self._split(k), self._split(v))
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


def _mixed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(width)) v for each head, (N, heads, tokens, width)."""
    if not torch.compiler.is_exporting():
        return F.scaled_dot_product_attention(q, k, v)
    # Traced, PyTorch's own has a float16 softmax in a float16 graph.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    return scores.float().softmax(dim=-1).to(v.dtype) @ v


class MLP(nn.Module):
    """Two linear layers with the quick GELU, x * sigmoid(1.702 x), between them."""

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, tokens, hidden) to the same."""
        h = self.fc1(x)
        return self.fc2(h * (1.702 * h).sigmoid())


class EncoderLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden)

    def forward(self, x: Tensor, wanted: slice = ALL) -> Tensor:
        """Map (N, tokens, hidden) to the same, of the tokens that are wanted."""
        x = x[:, wanted] + self.self_attn(self.layer_norm1(x), wanted)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The stack of layers, up to the class token.

    The last layer computes that token only: no other is read.
    """

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, tokens, hidden) to (N, hidden)."""
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        token: Tensor = last(x, CLASS_TOKEN)[:, 0]
        return token


class VisionModel(nn.Module):
    """The tower up to the class token."""

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden)

    def forward(self, views: Tensor) -> Tensor:
        """Map (N, 3, S, S) to (N, hidden)."""
        token = self.encoder(self.pre_layrnorm(self.embeddings(views)))
        out: Tensor = self.post_layernorm(token)
        return out


class VisionTower(nn.Module):
    """The tower with its projection."""

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.vision_model = VisionModel(config)
        self.visual_projection = nn.Linear(config.hidden, config.projection, bias=False)

    def forward(self, views: Tensor) -> Tensor:
        """Map (N, 3, S, S) to (N, projection)."""
        out: Tensor = self.visual_projection(self.vision_model(views))
        return out


class Router(nn.Module):
    """The network from views to logits, prior and gates.

    Under `.half()` the tower is float16; the extractor and the head, which are small and
    decide the route, stay float32.
    """

    def __init__(self, config: RouterConfig, top_k: int) -> None:
        super().__init__()
        self.top_k, self.side = top_k, config.side
        self.clip_model = nn.ModuleDict({"vision_tower": VisionTower(config)})
        width = config.projection
        # de_extractor.1 and .3 are the GELUs.
        self.de_extractor = nn.ModuleDict(
            {"0": nn.Linear(2 * width, width), "2": nn.Linear(width, width // 2)}
        )
        self.cls_head = nn.Linear(width // 2, config.num_classes)

    def half(self) -> "Router":
        """Make the tower float16, in place."""
        self.clip_model.half()
        return self

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Route a batch of pictures.

        Args:
            views: (B, 5, 3, S, S) float32, normalised; see `lorair.runtime.pixels`.

        Returns:
            logits (B, E), prior (B, projection / 2) and gates (B, E), float32.
        """
        tower = self.clip_model["vision_tower"]
        width, dtype = self.cls_head.in_features * 2, next(tower.parameters()).dtype
        embedded = tower(views.flatten(0, 1).to(dtype)).float().reshape(-1, VIEWS, width)
        both = torch.cat([embedded[:, 0], embedded[:, 1:].mean(1)], dim=1)
        prior = F.gelu(self.de_extractor["2"](F.gelu(self.de_extractor["0"](both))))
        logits = self.cls_head(prior)
        return logits, prior, gates_from_logits(logits, self.top_k)
