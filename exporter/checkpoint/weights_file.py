"""Tensors from a weights file, without executing anything in it.

Takes `.pth` and `.safetensors`, with or without the outer `params` and a `module.` prefix.
"""

import pickle
import pickletools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorair.runtime.errors import CheckpointError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by name, unwrapped, in the types they are stored in.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint, or one that contains code.
    """
    if not path.is_file():
        raise CheckpointError(
            f"cannot read checkpoint {path}",
            wanted="a .pth or .safetensors file",
            found="a folder" if path.is_dir() else "no such file",
            hint="check the path",
        )
    if path.stat().st_size == 0:
        raise _damaged(path, "an empty file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    return _unwrap(content, path)


def _read_pth(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # PyTorch announces changes of its own format with warnings.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        if _is_refusal(str(error)) or _is_plain_pickle(path):
            raise CheckpointError(
                f"refused checkpoint {path}",
                wanted="tensors only",
                found="a pickle that would run code when opened",
                hint="get it from a source you trust, or as .safetensors",
            ) from error
        raise _damaged(path, "a damaged or foreign file") from error
    except Exception as error:  # a damaged pickle can make the reader raise anything
        raise _damaged(path, (str(error).splitlines() or [type(error).__name__])[0]) from error


def _is_refusal(message: str) -> bool:
    """PyTorch words a refused class and a broken stream with the same exception."""
    return any(word in message for word in ("GLOBAL", "Unsupported class", "Trying to"))


def _is_plain_pickle(path: Path) -> bool:
    """Whether the file is a whole pickle, found by reading its opcodes, not running them."""
    try:
        with path.open("rb") as file:
            return any(opcode.name == "REDUCE" for opcode, _, _ in pickletools.genops(file))
    except ValueError:
        return False


def _is_zip(path: Path) -> bool:
    """PyTorch's current format is a zip archive, which can be mapped instead of copied."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("params"), Mapping):
        content = content["params"]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(_usable(k, v) for k, v in content.items())
    ):
        raise CheckpointError(
            f"cannot use checkpoint {path}",
            wanted="a state dict of plain tensors, or one under `params`",
            found=_describe(content),
            hint="give the file that the training code saved",
        )
    if all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): value for name, value in content.items()}
    return dict(content)


def _usable(name: Any, value: Any) -> bool:
    """A plain tensor under a name: not sparse, quantized, nested or without data."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and not value.is_quantized
    )


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping with {', '.join(map(repr, list(content)[:3])) or 'nothing in it'}"
    return f"a {type(content).__name__}"


def _damaged(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"cannot read checkpoint {path}",
        wanted="a whole .pth or .safetensors file",
        found=found,
        hint="download it again",
    )
