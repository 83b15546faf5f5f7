"""Experts of a bundle: one more or one fewer, over the same shared weights.

The networks are read back from the bundle's graphs, so what is shared is written again bit
for bit. An expert of a lower rank than another is padded with zeros, which changes no
product; when the other goes, it is cut back.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lorair.exporter import photos
from lorair.exporter.build import write_bundle
from lorair.exporter.checkpoint.bundled import modules_of, read_networks
from lorair.exporter.checkpoint.checkpoint import Modules, class_names, load_restorer, load_router
from lorair.exporter.checkpoint.pretrained import StateDict
from lorair.exporter.model.config import ModelConfig, RouterConfig
from lorair.exporter.model.fold import fold
from lorair.exporter.verify import MAX_ERROR, MIN_PSNR, ROUTE_CHECKS
from lorair.exporter.verify.certificate import make_references
from lorair.exporter.verify.compare import Limits, Reference
from lorair.runtime.bundle.files import damaged, sha256
from lorair.runtime.bundle.kernels import read_index
from lorair.runtime.bundle.manifest import KERNELS, Bundle, Manifest, Precision, Weights
from lorair.runtime.errors import CheckpointError, ConfigError, OptionError
from lorair.runtime.system.console import counted, step

_A: Final = ".lora_A_list"
_B: Final = ".lora_B_list"

_OTHER_NAMES: Final = "--classes gives the file's experts other names"


@dataclass(frozen=True)
class Parts:
    """A bundle's networks as tensors.

    router, restorer: float32, the restorer folded. ranks: each expert's own; all are padded to
    the largest.
    """

    config: ModelConfig
    router: StateDict
    restorer: StateDict
    ranks: tuple[int, ...]


def read_parts(bundle: Bundle) -> Parts:
    """Read a bundle's networks. Raises BundleError if that cannot be done."""
    config, router, restorer = read_networks(bundle)
    rank, experts = config.restoration.r, config.restoration.num_experts
    ranks = bundle.manifest.model.restoration.get("ranks", [rank] * experts)
    known = [r for r in ranks if type(r) is int and 1 <= r <= rank] if type(ranks) is list else []
    if len(known) != experts:
        raise damaged(bundle.path, f"ranks of {experts} experts, up to {rank}", str(ranks))
    return Parts(config, router, restorer, tuple(known))


def digests(parts: Parts) -> tuple[str, dict[str, str]]:
    """Return the sha256 of the shared weights, and of each expert's own by name."""
    shared = {**_without(parts.restorer, _is_expert), **_without(parts.router, _is_head)}
    own = {}
    for number, name in enumerate(parts.config.classes):
        one = _ranked(_taken(parts.restorer, [number]), parts.ranks[number])
        own[name] = _digest({key: tensor for key, tensor in one.items() if _is_expert(key)})
    return _digest(shared), own


def add_expert(
    bundle: Bundle,
    name: str,
    ir_path: Path,
    router_path: Path,
    output: Path,
    classes: tuple[str, ...] | None = None,
) -> Manifest:
    """Write a bundle with one expert more, the last.

    Args:
        bundle: to add to.
        name: of the expert in the file, and then in the bundle.
        ir_path: weights of a restoration network with the bundle's shared weights.
        router_path: a router with one class more, the last, and otherwise the bundle's weights.
        output: the new bundle's folder, which may be the bundle's own.
        classes: a name for each expert in the file; None for the usual ones.

    Raises:
        OptionError: the name is taken, or not in the file.
        CheckpointError, ConfigError: a file that cannot be read, or of another network.
        VerificationError: the exported network is not within the limits of the bundle's.
    """
    parts, own = read_parts(bundle), bundle.manifest
    with step("read and check the weights"):
        rank, expert = _read_expert(parts, name, ir_path, classes, own.precision)
        head, router = _read_router(parts, router_path, own)
    restoration = parts.config.restoration
    config = replace(
        parts.config,
        restoration=replace(
            restoration, r=max(restoration.r, rank), num_experts=restoration.num_experts + 1
        ),
        router=head,
        classes=(*parts.config.classes, name),
    )
    old, new = (_ranked(tensors, config.restoration.r) for tensors in (parts.restorer, expert))
    restorer = {k: torch.cat([t, new[k]]) if _is_expert(k) else t for k, t in old.items()}
    return _write(
        bundle,
        Parts(config, router, restorer, (*parts.ranks, rank)),
        output,
        f"{name} of {ir_path.name}, sha256 {sha256(ir_path)[:16]}",
        added=(*own.source.added, name),
        router=Weights(name=router_path.name, sha256=sha256(router_path)),
    )


def remove_expert(bundle: Bundle, name: str, output: Path) -> Manifest:
    """Write a bundle without one of its experts.

    Args:
        bundle: to take it from.
        name: of the expert.
        output: the new bundle's folder, which may be the bundle's own.

    Raises:
        OptionError: there is none of that name, or too few would be left.
        VerificationError: the exported network is not within the limits of the bundle's.
    """
    parts = read_parts(bundle)
    config, classes = parts.config, parts.config.classes
    if name not in classes:
        raise OptionError("remove", wanted=f"one of {', '.join(classes)}", found=name)
    if len(classes) == config.top_k:
        raise OptionError(
            f"remove {name}",
            wanted=f"at least {config.top_k} experts left, as many as a picture gets",
            found=f"{len(classes)} in the bundle",
            hint="build a bundle with another --top-k",
        )
    left = [number for number, other in enumerate(classes) if other != name]
    ranks = tuple(parts.ranks[number] for number in left)
    config = replace(
        config,
        restoration=replace(config.restoration, r=max(ranks), num_experts=len(left)),
        router=replace(config.router, num_classes=len(left)),
        classes=tuple(classes[number] for number in left),
    )
    router = {k: t[left] if _is_head(k) else t for k, t in parts.router.items()}
    restorer = _ranked(_taken(parts.restorer, left), max(ranks))
    added = tuple(other for other in bundle.manifest.source.added if other != name)
    new = Parts(config, router, restorer, ranks)
    return _write(bundle, new, output, f"without {name}", added=added)


def _write(bundle: Bundle, parts: Parts, output: Path, detail: str, **source: Any) -> Manifest:
    """Export and verify as the bundle was: its precision, limits, checks and kernels."""
    manifest, photographs = bundle.manifest, photos.paths()
    certificate = manifest.certificate
    limits = certificate.limits if certificate is not None else {}
    routes = certificate.routes if certificate is not None else None
    kernels = read_index(bundle.path / KERNELS) if (bundle.path / KERNELS).is_dir() else []

    def prepare() -> tuple[Modules, list[Reference]]:
        modules = modules_of(parts.config, parts.router, parts.restorer)
        with counted("reference pictures in PyTorch", photographs) as each:
            return modules, make_references(modules, each)

    return write_bundle(
        parts.config,
        prepare,
        manifest.source.model_copy(
            update={"detail": f"{manifest.source.detail}; {detail}", **source}
        ),
        output,
        precision=manifest.precision,
        router_int8=manifest.router_precision is not None,
        route_checks=routes.pictures if routes is not None else ROUTE_CHECKS,
        sms=sorted({kernel.sm for kernel in kernels if kernel.format == "cubin"}),
        limits=Limits(limits.get("max_error", MAX_ERROR), limits.get("min_psnr_db", MIN_PSNR)),
        photographs=photographs,
        ranks=parts.ranks,
    )


def _read_expert(
    parts: Parts, name: str, path: Path, classes: tuple[str, ...] | None, precision: Precision
) -> tuple[int, StateDict]:
    """Return an expert's rank and its tensors, as those of a network that has it alone."""
    if name in parts.config.classes:
        raise OptionError(
            "--take",
            wanted=f"a name that is not taken ({', '.join(parts.config.classes)})",
            found=name,
            hint=_OTHER_NAMES,
        )
    config, net = load_restorer(path)
    names = class_names(config, classes or ((name,) if config.num_experts == 1 else None))
    if name not in names:
        raise OptionError(
            "--take", wanted=f"one of {', '.join(names)}", found=name, hint=_OTHER_NAMES
        )
    own = parts.config.restoration
    _check_alike(path, own, replace(config, r=own.r, num_experts=own.num_experts))
    tensors = fold(net).state_dict()
    bundled = tensors if precision == "fp32" else {k: _half(t) for k, t in tensors.items()}
    _check_shared(path, _without(parts.restorer, _is_expert), bundled)
    return config.r, _taken(tensors, [names.index(name)])


def _read_router(parts: Parts, path: Path, manifest: Manifest) -> tuple[RouterConfig, StateDict]:
    config, tensors = load_router(path)
    experts = len(parts.config.classes)
    if config.num_classes != experts + 1:
        raise ConfigError(
            f"{path} does not belong to one expert more",
            wanted=f"a router with {experts + 1} classes, the last for the new one",
            found=f"{config.num_classes} classes",
            hint="give the router that was trained with it",
        )
    _check_alike(path, parts.config.router, replace(config, num_classes=experts))
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    bundled = {name: _as_bundled(name, t, manifest) for name, t in tensors.items()}
    _check_shared(path, _without(parts.router, _is_head), bundled)
    return config, tensors


def _check_alike(path: Path, wanted: Any, found: Any) -> None:
    """Raise ConfigError unless two configurations of a branch are the same."""
    pairs = zip(asdict(wanted).items(), asdict(found).values(), strict=True)
    different = [(key, value, other) for (key, value), other in pairs if value != other]
    if different:
        key, value, other = different[0]
        raise ConfigError(
            f"{path} is another network than the bundle's: {key}",
            wanted=str(value),
            found=str(other),
            hint="give weights that were trained on the bundle's own",
        )


def _check_shared(path: Path, wanted: StateDict, found: StateDict) -> None:
    """Raise CheckpointError unless a file has the bundle's shared weights."""
    different = [name for name, tensor in wanted.items() if not torch.equal(tensor, found[name])]
    if different:
        raise CheckpointError(
            f"{path} has other shared weights than the bundle",
            wanted="the weights that the bundle was built from, but for experts and classes",
            found=f"{len(different)} of {len(wanted)} tensors that differ, first {different[0]}",
            hint="train the expert on them, or build a bundle of the new pair",
        )


def _as_bundled(name: str, tensor: Tensor, manifest: Manifest) -> Tensor:
    """Round one of a router's tensors as the bundle's precision does."""
    if manifest.router_precision == "int8":
        is_int8 = ".encoder.layers." in name and tensor.dim() == 2
        return _int8(tensor) if is_int8 else tensor
    is_half = manifest.precision == "fp16" and name.startswith("clip_model.")
    return _half(tensor) if is_half else tensor


def _half(tensor: Tensor) -> Tensor:
    return tensor.half().float()


def _int8(weight: Tensor) -> Tensor:
    """(out, in): 7 bits, a scale a row; see `quantize_router`. Doing it again changes nothing."""
    scale = weight.abs().amax(1, keepdim=True) / 64
    return torch.where(scale > 0, weight / scale, 0).round() * scale


def _is_expert(name: str) -> bool:
    return name.endswith((_A, _B, ".lora_bias"))


def _is_head(name: str) -> bool:
    return name.startswith("cls_head.")


def _without(tensors: StateDict, is_own: Callable[[str], bool]) -> StateDict:
    return {name: tensor for name, tensor in tensors.items() if not is_own(name)}


def _taken(restorer: StateDict, numbers: list[int]) -> StateDict:
    """Return a restorer's tensors with these experts alone."""
    return {name: t[numbers] if _is_expert(name) else t for name, t in restorer.items()}


def _ranked(restorer: StateDict, rank: int) -> StateDict:
    """Return a restorer's tensors with experts of this rank: zeros are added, or cut off."""
    out = dict(restorer)
    for name, a in restorer.items():
        if name.endswith(_A):
            owner = name.removesuffix(_A)
            side = restorer[f"{owner}.conv.weight"].shape[-1]
            missing = rank * side - a.shape[1]
            out[name] = F.pad(a, (0, 0, 0, missing))
            out[f"{owner}{_B}"] = F.pad(restorer[f"{owner}{_B}"], (0, missing))
    return out


def _digest(tensors: StateDict) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()
