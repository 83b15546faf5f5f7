"""Kernels in a bundle: what was compiled for which GPU, and how each is launched.

`kernels/index.json` describes the files beside it. `lorair.kernels.aot` writes them;
nothing here needs Triton or a GPU.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorair.runtime.errors import BundleError

INDEX: Final = "index.json"
SCHEMA: Final = 1


@dataclass(frozen=True)
class Compiled:
    """One kernel of one SM, and all that a launch must know.

    name, operator: of the variant; see `kernels/variants.py`.
    sm: it is compiled for; with `format` "ptx", the least it runs on.
    format: "cubin" or "ptx".
    file: beside the index.
    entry: the function's name in the file.
    arguments: name and Triton type of each, in order; after them come two pointers to
        scratch memory, both unused (0).
    aligned: arguments that must be multiples of 16 (pointers: in bytes).
    constants: what was compiled in: the tile's sides, the experts' number and rank.
    block: threads of a program.
    shared: dynamic shared memory of a program in bytes.
    registers, spilled: of a thread: registers, and bytes that did not fit in them; None
        for PTX.
    """

    name: str
    operator: str
    sm: int
    format: str
    file: str
    entry: str
    arguments: tuple[tuple[str, str], ...]
    aligned: tuple[str, ...]
    constants: dict[str, Any]
    block: tuple[int, int, int]
    shared: int
    registers: int | None
    spilled: int | None

    def runs_on(self, sm: int) -> bool:
        """Whether a GPU of this compute capability (89 is 8.9) can load it.

        A cubin runs on its own generation from its own minor version on, PTX on everything
        newer.
        """
        if self.format == "ptx":
            return sm >= self.sm
        return sm // 10 == self.sm // 10 and sm >= self.sm


def read_index(folder: Path) -> list[Compiled]:
    """The kernels of a folder.

    Raises:
        BundleError: the index is missing, of another version, or damaged.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        return [_from_json(entry) for entry in content["kernels"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"cannot read {path}",
            wanted=f"an index of kernels, schema {SCHEMA}",
            found=str(error),
            hint="build the bundle again with --kernels",
        ) from error


def for_gpu(kernels: Iterable[Compiled], sm: int) -> dict[str, Compiled]:
    """The best file of each kernel for a GPU, by name; a kernel that has none is left out.

    The nearest cubin before PTX, which the driver would have to compile first.
    """
    found: dict[str, Compiled] = {}
    for kernel in sorted(kernels, key=lambda k: (k.format == "cubin", k.sm)):
        if kernel.runs_on(sm):
            found[kernel.name] = kernel
    return found


def _from_json(entry: dict[str, Any]) -> Compiled:
    arguments = tuple((name, kind) for name, kind in entry.pop("arguments"))
    aligned, block = tuple(entry.pop("aligned")), tuple(entry.pop("block"))
    return Compiled(**entry, arguments=arguments, aligned=aligned, block=block)
