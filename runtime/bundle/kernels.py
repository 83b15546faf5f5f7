"""Kernels in a bundle: what was compiled for which GPU, and how each is launched.

`kernels/index.json` describes the files beside it. `lorair.kernels.aot` writes them;
nothing here needs Triton or a GPU.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from lorair.runtime.bundle.files import first_problem, read_json
from lorair.runtime.errors import BundleError

INDEX: Final = "index.json"
SCHEMA: Final = 1

Sm = Annotated[int, Field(ge=10, lt=10_000)]
Small = Annotated[int, Field(ge=0, lt=2**31)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
"""A name that can stand in a program: plugins are compiled from an index."""


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

    name: Word
    operator: Word
    sm: Sm
    format: Annotated[str, Field(pattern="^(cubin|ptx)$")]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    entry: Word
    arguments: tuple[tuple[Word, str], ...]
    aligned: tuple[Word, ...]
    constants: dict[str, Any]
    block: tuple[Small, Small, Small]
    shared: Small
    registers: Small | None
    spilled: Small | None

    @property
    def preference(self) -> tuple[bool, int]:
        """Return what is the greater, the better: the nearest cubin, before PTX.

        PTX the driver would have to compile first.
        """
        return self.format == "cubin", self.sm

    def runs_on(self, sm: int) -> bool:
        """Whether a GPU of this compute capability (89 is 8.9) can load it.

        A cubin runs on its own generation from its own minor version on, but from Hopper on
        Triton compiles for one GPU exactly (`sm_90a`). PTX runs on everything newer.
        """
        if self.format == "ptx":
            return sm >= self.sm
        if self.sm >= 90:
            return sm == self.sm
        return sm // 10 == self.sm // 10 and sm >= self.sm


_KERNELS: Final = TypeAdapter(list[Compiled])


def read_index(folder: Path) -> list[Compiled]:
    """The kernels of a folder.

    Raises BundleError: the index is missing, of another version, or damaged.
    """
    path = folder / INDEX
    try:
        content = read_json(path)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        return _KERNELS.validate_python(content["kernels"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        found = str(error)
        if isinstance(error, ValidationError):
            found = ": ".join(first_problem(error))
        raise BundleError(
            f"cannot read {path}",
            wanted=f"an index of kernels, schema {SCHEMA}",
            found=found,
            hint="build the bundle again with --kernels",
        ) from error


def for_gpu(kernels: Iterable[Compiled], sm: int) -> dict[str, Compiled]:
    """The best file of each kernel for a GPU, by name; a kernel that has none is left out."""
    found: dict[str, Compiled] = {}
    for kernel in sorted(kernels, key=lambda kernel: kernel.preference):
        if kernel.runs_on(sm):
            found[kernel.name] = kernel
    return found
