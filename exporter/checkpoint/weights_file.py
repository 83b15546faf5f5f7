"""Tensors from a weights file, without executing anything in it.

Takes `.pth` (the zip archive that PyTorch has written since 1.6) and `.safetensors`, with or
without the outer `params` and a `module.` prefix. What a file costs is bounded by its size: its
index is checked before PyTorch sees it.
"""

import pickletools
import reprlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from lorair.runtime.errors import CheckpointError

_INDEX: Final = 2**20
"""Bytes of names and shapes, at most: the full-size network has 141 kB."""

_STEPS: Final = 250_000
"""Opcodes of a pickle, at most: the full-size network has 37,000."""

_NESTED: Final = 100
"""Parts of a tuple and the tuples in it, at most. Comparing nested ones can take forever."""

_ALLOWED: Final = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        *(f"torch {kind}Storage" for kind in ("BFloat16", "Double", "Float", "Half")),
        *(f"torch {kind}Storage" for kind in ("Bool", "Byte", "Char", "Int", "Long", "Short")),
    }
)
"""What a pickled state dict of plain tensors calls."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, unwrapped, in the types they are stored in.

    Raises CheckpointError: missing, damaged, not a checkpoint, or one that contains code.
    """
    if not path.is_file():
        raise CheckpointError(
            f"cannot read checkpoint {path}",
            wanted="a .pth or .safetensors file",
            found="a folder" if path.is_dir() else "no such file",
            hint="check the path",
        )
    size = path.stat().st_size
    if size == 0:
        raise _damaged(path, "an empty file")
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pth
    try:
        content = read(path, size)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can make the libraries raise anything
        found = (str(error).splitlines() or [""])[0]
        raise _damaged(path, found or type(error).__name__) from error
    tensors = _unwrap(content, path)
    # A tensor whose strides are 0 can have any size.
    if sum(t.numel() * t.element_size() for t in tensors.values()) > size:
        raise _damaged(path, "tensors that have more bytes than the file")
    return tensors


def _read_pth(path: Path, size: int) -> Any:
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(b"PK\x03\x04"):
        is_text = head.isascii() and b"\0" not in head
        raise CheckpointError(
            f"refused checkpoint {path}",
            wanted="a zip archive, as torch.save writes it",
            found="text" if is_text else "another format, which might run code when opened",
            hint="get it from a source you trust, saved by PyTorch 1.6 or newer",
        )
    _check_pickle(_pickle(path, size), path)
    with warnings.catch_warnings():
        # PyTorch announces changes of its own format with warnings.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _pickle(path: Path, size: int) -> bytes:
    """The archive's index. Every member is stored as it is, none lies over another."""
    with ZipFile(path) as archive:
        members = archive.infolist()
        if any(m.compress_type != ZIP_STORED or m.compress_size != m.file_size for m in members):
            raise _damaged(path, "compressed members, which torch.save does not write")
        if sum(m.file_size for m in members) > size:
            raise _damaged(path, "members that overlap")
        names = [m.filename.lower() for m in members]  # as PyTorch compares them
        found = [m for m, name in zip(members, names, strict=True) if name.endswith("data.pkl")]
        if len(found) != 1 or len(set(names)) != len(names):
            raise _damaged(path, "a zip archive that torch.save did not write")
        if found[0].file_size > _INDEX:
            raise _damaged(path, f"an index of {found[0].file_size} bytes")
        return archive.read(found[0])


def _check_pickle(content: bytes, path: Path) -> None:
    """Refuse what is no state dict by reading the opcodes, not running them."""
    stack: list[int] = []  # of each value its parts if it is a tuple, else 1; 0 is a mark
    memo: dict[Any, int] = {}
    for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if step > _STEPS:
            raise _damaged(path, f"a pickle of more than {_STEPS} steps")
        if opcode.name == "GLOBAL" and argument not in _ALLOWED:
            raise CheckpointError(
                f"refused checkpoint {path}",
                wanted="a state dict of plain tensors",
                found=f"{'.'.join(str(argument).split())}, which would run code when opened",
                hint="get it from a source you trust, or as .safetensors",
            )
        if "PUT" in opcode.name:
            memo[argument] = stack[-1]
        elif "GET" in opcode.name:
            stack.append(memo[argument])
        else:
            taken = _take(stack, opcode.stack_before)
            parts = 1 + sum(taken) if "TUPLE" in opcode.name else int(opcode.name != "MARK")
            if parts > _NESTED:
                raise _damaged(path, "nested tuples, which no state dict has")
            stack += [parts] * len(opcode.stack_after)


def _take(stack: list[int], kinds: list[pickletools.StackObject]) -> list[int]:
    """Take what an opcode takes from the stack: values of these kinds, the last on top."""
    taken = []
    for kind in reversed(kinds):
        if kind is pickletools.stackslice:
            while top := stack.pop():
                taken.append(top)
        elif kind is not pickletools.markobject:
            taken.append(stack.pop())
    return taken


def _read_safetensors(path: Path, size: int) -> Any:
    from safetensors.torch import load_file

    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > size:
        raise _damaged(path, "something else")
    if header > _INDEX:
        raise _damaged(path, f"a header of {header} bytes")
    return load_file(path)


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
        return f"a mapping with {', '.join(map(reprlib.repr, list(content)[:3])) or 'nothing'}"
    return f"a {type(content).__name__}"


def _damaged(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"cannot read checkpoint {path}",
        wanted="a whole .pth or .safetensors file",
        found=found,
        hint="download it again",
    )
