"""The baseline: run the network the way the released code runs it.

At every call each convolution is copied and the chosen experts are added to the copy one
by one, with a look at each gate on the host; the router runs under bfloat16 autocast, or, where
PyTorch would emulate that (without AVX-512 it takes five times as long), in float32.
Reimplemented from the description of that behaviour, on this project's modules; docs/decisions.md
has the released code's own times beside it.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorair.exporter.checkpoint.checkpoint import Pair, load_pair
from lorair.exporter.checkpoint.synth import draw_pair
from lorair.exporter.model.config import LORA_SCALE, ModelConfig, RestorationConfig, RouterConfig
from lorair.exporter.model.lora_moe import LoRAMoEConv2d
from lorair.runtime.backends.tiles import PlainTiles
from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.pixels import Array


def load_weights(model: ModelInfo, ir: Path | None, router: Path | None) -> Pair:
    """Return the weights of two files, or random ones, which take the same time."""
    if ir is not None and router is not None:
        return load_pair(ir, router, top_k=model.top_k, classes=model.classes)
    return draw_pair(_config(model), seed=0)


class TorchEagerBackend(PlainTiles):
    """PyTorch eager as in the released code; a `lorair.runtime.backends.Backend`."""

    name = "torch-eager"
    walk = None

    def __init__(self, weights: Pair, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._router, self._net = weights.modules()
        self._in_bfloat16 = _has_bfloat16()
        if self._in_bfloat16:
            self._router.to(torch.bfloat16)
        _release_style(self._net)

    @property
    def description(self) -> str:
        """Return library, version, device and threads."""
        router = "bfloat16" if self._in_bfloat16 else "float32"
        threads = torch.get_num_threads()
        return f"PyTorch {torch.__version__} eager, router in {router}, CPU, {threads} threads"

    def load_router(self) -> None:
        """Do nothing: it is loaded from the start."""

    def load_restorer(self, gates: Array) -> None:
        """Do nothing: it is loaded from the start."""

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Return logits (B, E), prior (B, P) and gates (B, E) of views (B, 5, 3, S, S)."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, self._in_bfloat16):
            logits, prior, gates = self._router(torch.from_numpy(views))
        return logits.float().numpy(), prior.float().numpy(), gates.float().numpy()

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Restore an image (1, 3, H, W) with a prior (1, P) and gates (E)."""
        with torch.no_grad():
            tensors = (torch.from_numpy(a) for a in (image, prior, gates))
            restored: Array = self._net(*tensors).numpy()
        return restored


class _CopiedAndMergedConv(nn.Module):
    """A convolution that is copied and merged again at every call."""

    def __init__(self, mixture: LoRAMoEConv2d) -> None:
        super().__init__()
        self.conv = mixture.conv
        self.lora_A_list, self.lora_B_list = mixture.lora_A_list, mixture.lora_B_list

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Convolve x (1, in, H, W) with weights merged by gates (E)."""
        merged = copy.deepcopy(self.conv)
        for gate, A, B in zip(gates, self.lora_A_list, self.lora_B_list, strict=True):
            if gate > 1e-8:
                update = (B @ A).view(merged.weight.shape) * LORA_SCALE
                merged.weight.data += gate * update
        out: Tensor = merged(x)
        return out


def _has_bfloat16() -> bool:
    """Whether PyTorch's bfloat16 is not emulated."""
    return torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def _release_style(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, LoRAMoEConv2d):
            module.register_module(name, _CopiedAndMergedConv(child))
        else:
            _release_style(child)


def _config(model: ModelInfo) -> ModelConfig:
    lists: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in model.restoration.items()
        if k != "ranks"
    }
    return ModelConfig(
        RestorationConfig(**lists), RouterConfig(**model.router), model.top_k, model.classes
    )
