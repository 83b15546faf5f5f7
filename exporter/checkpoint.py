"""Checkpoints: configuration from the tensors, every tensor checked, modules filled.

Everything but top_k and the classes' names follows from the tensors' names and shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorair.exporter.config import (
    SETTING1,
    ModelConfig,
    RestorationConfig,
    RouterConfig,
    default_classes,
)
from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.weights_file import read_tensors
from lorair.runtime.errors import CheckpointError, ConfigError

StateDict = Mapping[str, Tensor]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_TOWER = "clip_model.vision_tower."
_VISION = f"{_TOWER}vision_model."


@dataclass(frozen=True)
class Pair:
    """Both branches' weights and the configuration that they have in common."""

    config: ModelConfig
    ir: StateDict
    router: StateDict

    def modules(self) -> tuple[Router, RestorationNet]:
        """Both branches in float32, in evaluation mode."""
        router = _filled(Router, self.router, self.config.router, self.config.top_k)
        net = _filled(RestorationNet, self.ir, self.config.restoration)
        return router, net


def load_pair(
    ir_path: Path,
    router_path: Path,
    *,
    top_k: int | None = None,
    yaml_path: Path | None = None,
    classes: tuple[str, ...] | None = None,
) -> Pair:
    """Read and check both checkpoints.

    Args:
        ir_path: the restoration network's weights.
        router_path: the router's weights.
        top_k: experts that get a gate; None for the YAML's, or 1.
        yaml_path: the authors' options file, checked against the tensors.
        classes: a name for each expert; None for Setting I's or plain numbers.

    Raises:
        CheckpointError: a file that is missing, damaged, unsafe or not this network's.
        ConfigError: files or options that contradict each other.
    """
    ir = read_tensors(ir_path)
    restoration = infer_restoration(ir, ir_path)
    check_tensors(RestorationNet, ir, ir_path, restoration)
    router_tensors = read_tensors(router_path)
    router = infer_router(router_tensors, router_path)
    check_tensors(Router, router_tensors, router_path, router, 1)
    if yaml_path is not None:
        yaml_top_k = _check_yaml(yaml_path, restoration, router)
        top_k = yaml_top_k if top_k is None else top_k
    if classes is None:
        is_setting1 = (restoration, router) == (SETTING1.restoration, SETTING1.router)
        classes = default_classes(restoration.num_experts, setting1=is_setting1)
    top_k = 1 if top_k is None else top_k
    return Pair(ModelConfig(restoration, router, top_k, classes), ir, router_tensors)


def infer_restoration(tensors: StateDict, path: Path) -> RestorationConfig:
    """The restoration network's configuration from its tensors' names and shapes."""
    if any(name.startswith(_TOWER) for name in tensors):
        raise CheckpointError(
            f"{path} is not a restoration checkpoint",
            wanted="the restoration network's tensors (intro.*, encoders.*, …)",
            found="a router's (clip_model.*)",
            hint="were --ir-weights and --router-weights swapped?",
        )
    width = _shape(tensors, "intro.conv.weight", 4, path)[0]
    experts, rank3, _ = _shape(tensors, "intro.lora_A_list", 3, path)
    kernel = _shape(tensors, "intro.conv.weight", 4, path)[-1]
    return RestorationConfig(
        width=width,
        enc_blk_nums=_block_counts(tensors, "encoders", path),
        middle_blk_num=_numbered(tensors, "middle_blks.blocks."),
        dec_blk_nums=_block_counts(tensors, "decoders", path),
        prior=_shape(tensors, "intro_de.0.conv.weight", 4, path)[1],
        r=rank3 // kernel,
        num_experts=experts,
    )


def infer_router(tensors: StateDict, path: Path) -> RouterConfig:
    """The router's configuration from its tensors' names and shapes."""
    if "intro.conv.weight" in tensors:
        raise CheckpointError(
            f"{path} is not a router checkpoint",
            wanted="a router's tensors (clip_model.*, de_extractor.*, cls_head.*)",
            found="the restoration network's (intro.*, encoders.*, …)",
            hint="were --ir-weights and --router-weights swapped?",
        )
    embeddings = f"{_VISION}embeddings."
    hidden, _, patch, _ = _shape(tensors, f"{embeddings}patch_embedding.weight", 4, path)
    tokens = _shape(tensors, f"{embeddings}position_embedding.weight", 2, path)[0]
    grid = round((tokens - 1) ** 0.5)
    if grid * grid != tokens - 1:
        raise CheckpointError(
            f"{path}: {embeddings}position_embedding.weight",
            wanted="a square number of patches and one more",
            found=f"{tokens} positions",
        )
    return RouterConfig(
        hidden=hidden,
        layers=_numbered(tensors, f"{_VISION}encoder.layers."),
        mlp=_shape(tensors, f"{_VISION}encoder.layers.0.mlp.fc1.weight", 2, path)[0],
        side=grid * patch,
        patch=patch,
        projection=_shape(tensors, f"{_TOWER}visual_projection.weight", 2, path)[0],
        num_classes=_shape(tensors, "cls_head.weight", 2, path)[0],
    )


def check_tensors(kind: type[nn.Module], tensors: StateDict, path: Path, *config: Any) -> None:
    """Names, shapes, types and values against what the configuration implies."""
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in kind(*config).state_dict().items()}
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        parts = [f"{_first(missing)} missing"] if missing else []
        parts += [f"{_first(extra)} unknown"] if extra else []
        raise CheckpointError(
            f"checkpoint {path} does not fit the network",
            wanted=f"{len(wanted)} tensors",
            found="; ".join(parts),
        )
    for name, shape in wanted.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"checkpoint {path}: {name}",
                wanted=f"shape {shape}",
                found=f"{tuple(tensor.shape)}",
            )
        if tensor.dtype not in _FLOATS:
            raise CheckpointError(
                f"checkpoint {path}: {name}", wanted="floating point", found=str(tensor.dtype)
            )
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"checkpoint {path} is broken",
            wanted="finite weights",
            found=f"NaN or infinity in {_first(broken)}",
        )


def _check_yaml(path: Path, restoration: RestorationConfig, router: RouterConfig) -> int | None:
    """Compare the authors' options with the tensors; return their top_k."""
    options = _read_yaml(path)
    network = options.get("network_g") or {}
    clip = options.get("network_clip") or {}
    found = {
        "width": restoration.width,
        "enc_blk_nums": list(restoration.enc_blk_nums),
        "middle_blk_num": restoration.middle_blk_num,
        "dec_blk_nums": list(restoration.dec_blk_nums),
        "r": restoration.r,
        "num_experts": restoration.num_experts,
    }
    claims = {f"network_g.{k}": (network[k], v) for k, v in found.items() if k in network}
    if "cls_num" in clip:
        claims["network_clip.cls_num"] = (clip["cls_num"], router.num_classes)
    for name, (claimed, actual) in claims.items():
        if claimed != actual:
            raise ConfigError(
                f"{path} contradicts the weights: {name}",
                wanted=f"{actual}, as the tensors have it",
                found=f"{claimed}",
                hint="give the options file that the weights were trained with",
            )
    top_k = network.get("top_k")
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool)):
        raise ConfigError(f"{path}: network_g.top_k", wanted="a whole number", found=repr(top_k))
    return top_k


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read options file {path}", found=" ".join(str(error).split())
        ) from error
    sections = ("network_g", "network_clip")
    if not isinstance(content, dict) or not any(
        isinstance(content.get(section), dict) for section in sections
    ):
        raise ConfigError(
            f"cannot use options file {path}",
            wanted="the authors' YAML, with a mapping network_g",
            found="something else",
        )
    return content


def _filled(kind: type[Any], tensors: StateDict, *config: Any) -> Any:
    """The module with these weights in float32; parameters are not initialised first."""
    with torch.device("meta"):
        module = kind(*config)
    module.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _shape(tensors: StateDict, name: str, dims: int, path: Path) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(
            f"checkpoint {path} is not of this network",
            wanted=f"a tensor {name}",
            found=f"{len(tensors)} tensors without it, the first {next(iter(tensors))}",
        )
    shape = tuple(tensors[name].shape)
    if len(shape) != dims:
        raise CheckpointError(
            f"checkpoint {path}: {name}", wanted=f"{dims} dimensions", found=f"shape {shape}"
        )
    return shape


def _numbered(tensors: StateDict, prefix: str) -> int:
    """How many children a module list has: the largest number behind the prefix, and one."""
    rests = (name.removeprefix(prefix) for name in tensors if name.startswith(prefix))
    numbers = [int(rest.partition(".")[0]) for rest in rests if rest[:1].isdigit()]
    return max(numbers, default=-1) + 1


def _block_counts(tensors: StateDict, stage: str, path: Path) -> tuple[int, ...]:
    levels = _numbered(tensors, f"{stage}.")
    if levels == 0:
        raise CheckpointError(
            f"checkpoint {path} is not of this network",
            wanted=f"tensors {stage}.0.*",
            found="none",
        )
    return tuple(_numbered(tensors, f"{stage}.{i}.blocks.") for i in range(levels))


def _first(names: list[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
