"""Random weights in exactly the released format, for benchmarks and tests."""

import math
from pathlib import Path

import torch
from torch import Tensor

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.model.config import PRESETS, ModelConfig
from lorair.runtime.errors import OptionError
from lorair.runtime.system.atomic import atomic_file


def preset(name: str) -> ModelConfig:
    """A configuration by name: `setting1` (as released) or `tiny`."""
    if name not in PRESETS:
        raise OptionError(
            "--preset", wanted=f"one of {', '.join(PRESETS)}", found=name, hint="tiny is for tests"
        )
    return PRESETS[name]


def draw_pair(config: ModelConfig, seed: int = 0) -> Pair:
    """Weights drawn: float32 for the restoration network, bfloat16 for the router.

    Drawn so that every part of the network matters and values stay in the range of a
    trained one: the usual uniform initialisation, with beta, gamma and the experts'
    B matrices (zero in a fresh network) drawn as well.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        net, router = RestorationNet(config.restoration), Router(config.router, config.top_k)
    ir = {k: _restoration_tensor(k, v, generator) for k, v in net.state_dict().items()}
    drawn = {k: _router_tensor(k, v, generator) for k, v in router.state_dict().items()}
    tower = {k: v.to(torch.bfloat16) for k, v in drawn.items()}
    return Pair(config, ir, tower)


def write_pair(pair: Pair, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `NAME_ir.pth` and `NAME_router.pth` as the authors do: `{"params": tensors}`."""
    paths = folder / f"{name}_ir.pth", folder / f"{name}_router.pth"
    for path, tensors in zip(paths, (pair.ir, pair.router), strict=True):
        with atomic_file(path) as partial:
            torch.save({"params": dict(tensors)}, partial)
    return paths


def _restoration_tensor(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    leaf = name.rpartition(".")[2]
    if leaf in ("beta", "gamma"):
        return _normal(like, 0.3, generator)
    if leaf == "lora_B_list":
        return _normal(like, 0.05, generator)
    if ".norm" in name:
        return _normal(like, 0.1, generator) + (1.0 if leaf == "weight" else 0.0)
    tensor = _uniform(like, generator)
    # The network adds to its input; a small last layer keeps a random one near it.
    return tensor * 0.1 if name.startswith("ending.conv") else tensor


def _router_tensor(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    leaf = name.rpartition(".")[2]
    if "norm" in name or "layrnorm" in name:
        return _normal(like, 0.1, generator) + (1.0 if leaf == "weight" else 0.0)
    if "embedding" in name and "patch" not in name:
        return _normal(like, 0.02, generator)
    if name == "cls_head.weight":
        return _normal(like, 1.0, generator)
    return _uniform(like, generator)


def _normal(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return torch.empty(like.shape).normal_(0, deviation, generator=generator)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Within 1/sqrt(fan-in), as PyTorch initialises convolutions and linear layers."""
    fan_in = math.prod(like.shape[1:]) if like.dim() > 1 else like.shape[0]
    if like.dim() == 3:  # experts come first
        fan_in = like.shape[2]
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(like.shape).uniform_(-bound, bound, generator=generator)
