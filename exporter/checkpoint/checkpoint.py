"""Checkpoints: configuration from the tensors, every tensor checked, modules filled.

Everything but top_k and the classes' names follows from the tensors' names and shapes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lorair.exporter.checkpoint import pretrained
from lorair.exporter.checkpoint.options_file import check_options
from lorair.exporter.checkpoint.weights_file import read_tensors
from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.model.config import (
    MAX_LEVELS,
    SETTING1,
    ModelConfig,
    RestorationConfig,
    RouterConfig,
    default_classes,
)
from lorair.runtime.errors import CheckpointError, OptionError

StateDict = pretrained.StateDict

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_TOWER = "clip_model.vision_tower."
_VISION = f"{_TOWER}vision_model."
_ROUTER_S = "a router's tensors (clip_model.*, de_extractor.*, cls_head.*)"
_RESTORATION_S = "the restoration network's tensors (intro.*, encoders.*, …)"


class Modules(NamedTuple):
    """The networks of both branches."""

    router: Router
    restorer: RestorationNet


@dataclass(frozen=True)
class Pair:
    """Both branches' weights and the configuration that they have in common."""

    config: ModelConfig
    ir: StateDict
    router: StateDict

    def modules(self) -> Modules:
        """Return both branches' modules in float32, in evaluation mode."""
        return Modules(
            router=_filled(Router, self.router, self.config.router, self.config.top_k),
            restorer=_filled(RestorationNet, self.ir, self.config.restoration),
        )

    def only(self, expert: str) -> "Pair":
        """Return the pair that is left for one expert: every picture gets it.

        Raises OptionError: there is no such class.
        """
        config = self.config
        if expert not in config.classes:
            wanted = f"one of {', '.join(config.classes)}"
            raise OptionError("--merge", wanted=wanted, found=expert)
        one = slice(config.classes.index(expert), config.classes.index(expert) + 1)
        config = replace(
            config,
            restoration=replace(config.restoration, num_experts=1),
            router=replace(config.router, num_classes=1),
            top_k=1,
            classes=(expert,),
        )
        is_experts = (".lora_A_list", ".lora_B_list")
        ir = {k: t[one] if k.endswith(is_experts) else t for k, t in self.ir.items()}
        router = {k: t[one] if k.startswith("cls_head.") else t for k, t in self.router.items()}
        return Pair(config, ir, router)


def load_pair(
    ir_path: Path,
    router_path: Path,
    *,
    top_k: int | None = None,
    yaml_path: Path | None = None,
    classes: tuple[str, ...] | None = None,
) -> Pair:
    """Read and check both checkpoints; one without experts becomes a network of one class.

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
    given = read_tensors(ir_path)
    restoration, ir = _checked_restorer(given, ir_path)
    router, router_tensors = load_router(router_path)
    if yaml_path is not None:
        yaml_top_k = check_options(yaml_path, restoration, router)
        top_k = yaml_top_k if top_k is None else top_k
    if not pretrained.has_experts(given):
        router_tensors = pretrained.one_class(router_tensors)
        router, classes = replace(router, num_classes=1), classes or pretrained.CLASSES
    if classes is None:
        is_setting1 = (restoration, router) == (SETTING1.restoration, SETTING1.router)
        classes = default_classes(restoration.num_experts, setting1=is_setting1)
    top_k = 1 if top_k is None else top_k
    return Pair(ModelConfig(restoration, router, top_k, classes), ir, router_tensors)


def load_router(path: Path) -> tuple[RouterConfig, StateDict]:
    """Read and check the router alone, in the types it is stored in.

    Raises CheckpointError: the file is missing, damaged, unsafe or not this network's.
    """
    tensors = read_tensors(path)
    config = infer_router(tensors, path)
    check_tensors(Router, tensors, path, config, 1)
    return config, tensors


def load_restorer(path: Path) -> tuple[RestorationConfig, RestorationNet]:
    """Read and check the restoration network alone, in float32.

    Raises CheckpointError: the file is missing, damaged, unsafe or not this network's.
    """
    config, tensors = _checked_restorer(read_tensors(path), path)
    return config, _filled(RestorationNet, tensors, config)


def class_names(config: RestorationConfig, given: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return a name for each expert of a restorer alone: those given, or the usual ones.

    Raises OptionError: another number of names than experts.
    """
    is_setting1 = config == SETTING1.restoration
    names = given or default_classes(config.num_experts, setting1=is_setting1)
    if len(names) != config.num_experts:
        raise OptionError("--classes", wanted=f"{config.num_experts} names", found=", ".join(names))
    return names


def _checked_restorer(given: StateDict, path: Path) -> tuple[RestorationConfig, StateDict]:
    tensors = pretrained.with_one_expert(given)
    config = infer_restoration(tensors, path)
    check_tensors(RestorationNet, tensors, path, config)
    return config, tensors


def infer_restoration(tensors: StateDict, path: Path) -> RestorationConfig:
    """The restoration network's configuration from its tensors' names and shapes."""
    if any(name.startswith(_TOWER) for name in tensors):
        raise _swapped(path, "a restoration", _RESTORATION_S, _ROUTER_S)
    width, *_, kernel = _shape(tensors, "intro.conv.weight", 4, path)
    experts, rank3, _ = _shape(tensors, "intro.lora_A_list", 3, path)
    return RestorationConfig(
        width=width,
        enc_blk_nums=_block_counts(tensors, "encoders", path),
        middle_blk_num=_numbered(tensors, "middle_blks.blocks.", path),
        dec_blk_nums=_block_counts(tensors, "decoders", path),
        prior=_shape(tensors, "intro_de.0.conv.weight", 4, path)[1],
        r=rank3 // kernel,
        num_experts=experts,
    )


def infer_router(tensors: StateDict, path: Path) -> RouterConfig:
    """The router's configuration from its tensors' names and shapes."""
    if "intro.conv.weight" in tensors:
        raise _swapped(path, "a router", _ROUTER_S, _RESTORATION_S)
    embeddings = f"{_VISION}embeddings."
    hidden, _, patch, _ = _shape(tensors, f"{embeddings}patch_embedding.weight", 4, path)
    tokens = _shape(tensors, f"{embeddings}position_embedding.weight", 2, path)[0]
    grid = round((tokens - 1) ** 0.5)
    if grid * grid != tokens - 1:
        raise _unfit(path, "a square number of patches and one more", f"{tokens} positions")
    return RouterConfig(
        hidden=hidden,
        layers=_numbered(tensors, f"{_VISION}encoder.layers.", path),
        mlp=_shape(tensors, f"{_VISION}encoder.layers.0.mlp.fc1.weight", 2, path)[0],
        side=grid * patch,
        patch=patch,
        projection=_shape(tensors, f"{_TOWER}visual_projection.weight", 2, path)[0],
        num_classes=_shape(tensors, "cls_head.weight", 2, path)[0],
    )


def check_tensors(kind: type[nn.Module], tensors: StateDict, path: Path, *config: Any) -> None:
    """Names, shapes, types and values against what the configuration implies.

    Raises CheckpointError: naming the first few that differ.
    """
    try:
        with torch.device("meta"):
            wanted = {name: tuple(t.shape) for name, t in kind(*config).state_dict().items()}
    except (RuntimeError, OverflowError) as error:
        raise _unfit(path, "a network that can exist", str(error).splitlines()[0]) from error
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        parts = [f"{_first(missing)} missing"] if missing else []
        parts += [f"{_first(extra)} unknown"] if extra else []
        raise _unfit(path, f"{len(wanted)} tensors", "; ".join(parts))
    shapes = {name: tuple(tensors[name].shape) for name in wanted}
    if wrong := [name for name in wanted if shapes[name] != wanted[name]]:
        some = wrong[:3]
        raise _unfit(
            path,
            ", ".join(f"{name} of shape {wanted[name]}" for name in some),
            f"{', '.join(str(shapes[name]) for name in some)}; {len(wrong)} differ",
        )
    if wrong := [name for name, t in tensors.items() if t.dtype not in _FLOATS]:
        raise _unfit(path, "floating point", f"{tensors[wrong[0]].dtype} in {_first(wrong)}")
    # As float32: a float64 value may become infinite there. NaN is both the least and the largest.
    ends = {name: torch.stack(t.aminmax()).float() for name, t in tensors.items()}
    if wrong := [name for name, two in ends.items() if not two.isfinite().all()]:
        raise _unfit(path, "finite weights", f"NaN or infinity in {_first(wrong)}")


def _swapped(path: Path, what: str, wanted: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not {what} checkpoint",
        wanted=wanted,
        found=found,
        hint="were --ir-weights and --router-weights swapped?",
    )


def _unfit(path: Path, wanted: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} does not fit the network",
        wanted=wanted,
        found=found,
        hint="give the file as it was released or saved by the training code",
    )


def _filled(kind: type[Any], tensors: StateDict, *config: Any) -> Any:
    """The module with these weights in float32; parameters are not initialised first."""
    with torch.device("meta"):
        module = kind(*config)
    module.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _shape(tensors: StateDict, name: str, dims: int, path: Path) -> tuple[int, ...]:
    if name not in tensors:
        found = f"{len(tensors)} tensors without it, the first {next(iter(tensors))}"
        raise _unfit(path, f"a tensor {name}", found)
    shape = tuple(tensors[name].shape)
    if len(shape) != dims or 0 in shape:
        raise _unfit(path, f"{name} with {dims} dimensions", f"shape {shape}")
    return shape


def _numbered(tensors: StateDict, prefix: str, path: Path) -> int:
    """How many children a module list has: they are numbered from 0 without a gap."""
    rests = (name.removeprefix(prefix) for name in tensors if name.startswith(prefix))
    numbers = {rest.partition(".")[0] for rest in rests}
    gap = sorted(numbers - {str(i) for i in range(len(numbers))})
    if gap:
        found = _first([prefix + number for number in gap])
        raise _unfit(path, f"{prefix}0, {prefix}1 and so on without a gap", found)
    return len(numbers)


def _block_counts(tensors: StateDict, stage: str, path: Path) -> tuple[int, ...]:
    levels = _numbered(tensors, f"{stage}.", path)
    if levels == 0:
        raise _unfit(path, f"tensors {stage}.0.*", "none")
    if levels > MAX_LEVELS:
        raise _unfit(path, f"at most {MAX_LEVELS} levels", f"{levels} {stage}")
    return tuple(_numbered(tensors, f"{stage}.{i}.blocks.", path) for i in range(levels))


def _first(names: list[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
