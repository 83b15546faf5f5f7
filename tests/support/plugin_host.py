"""TensorRT and its driver, played for a library of plugins: `plugin/host.cpp`, `recorder.c`."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lorair.kernels.launches import DType
from lorair.kernels.tensorrt import library
from lorair.kernels.variants import Variant
from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.errors import DependencyError

SOURCES = Path(__file__).parent / "plugin"
SANITIZED = ("-O0", "-g1", "-fsanitize=address")
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
KINDS: dict[DType, int] = {"fp32": 0, "fp16": 1}
"""TensorRT's numbers of the types."""


def skip_unless_it_compiles() -> None:
    """Skip where a compiler or headers are missing, saying which."""
    try:
        library.find_headers(10), library.find_compiler(), library.find_cuda()
    except DependencyError as error:
        pytest.skip(error.line())


def includes(folder: Path) -> list[str]:
    """The compiler's options for TensorRT's headers; one more is written into the folder."""
    (folder / "cuda_runtime_api.h").write_text(library._RUNTIME_API)
    found = (folder, library.find_headers(10).folder, library.find_cuda())
    return [f"-isystem{one}" for one in found]


@dataclass(frozen=True)
class Node:
    """A node to play. inputs: address and shape of each; outputs, workspace: addresses."""

    operator: str
    dtype: DType
    inputs: Sequence[tuple[int, Sequence[int]]]
    outputs: Sequence[int]
    workspace: int = 0
    scale: float = 1.5
    tactic: int = 0

    def line(self) -> str:
        words: list[object] = [self.operator, self.scale, self.tactic, KINDS[self.dtype]]
        words.append(len(self.inputs))
        for address, shape in self.inputs:
            words += [address, len(shape), *shape]
        words += [len(self.outputs), *self.outputs, self.workspace]
        return " ".join(map(str, words)) + "\n"


@dataclass
class Launch:
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    stream: int
    values: list[int | float]


@dataclass(frozen=True)
class Played:
    """What was said of a node, line by line."""

    lines: list[str]

    def of(self, kind: str) -> list[str]:
        """What the lines of a kind say."""
        return [
            rest for word, _, rest in (line.partition(" ") for line in self.lines) if word == kind
        ]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the outputs."""
        return [tuple(map(int, text.split())) for text in self.of("shape")]

    @property
    def takes(self) -> list[set[str]]:
        """Types and formats that each input and output may have."""
        return [set(text.split()[1:]) for text in self.of("takes")]

    @property
    def tactics(self) -> list[int]:
        """Those that are offered."""
        return [int(word) for text in self.of("tactics") for word in text.split()]

    @property
    def calls(self) -> list[str]:
        """Of the driver, outside of `enqueue`."""
        return [c for c in self.lines[: self._first] if c.startswith("cu")]

    @property
    def enqueued(self) -> list[list[str]]:
        """The calls of the driver in each `enqueue`: the context's, then its clone's."""
        made: list[list[str]] = []
        for line in self.lines[self._first :]:
            if line == "enqueue":
                made.append([])
            elif line.startswith("cu"):
                made[-1].append(line)
        return made

    @property
    def launches(self) -> list[Launch]:
        """Those of the first `enqueue`."""
        return [read_launch(line) for line in self.enqueued[0]]

    @property
    def _first(self) -> int:
        return self.lines.index("enqueue") if "enqueue" in self.lines else len(self.lines)


def read_launch(line: str) -> Launch:
    call, kernel, grid, block, shared, stream, *values = line.split()
    assert call == "cuLaunchKernel", line
    numbers = [float(v) if "." in v or "e" in v else int(v) for v in values]
    return Launch(kernel, _sides(grid), _sides(block), int(shared), int(stream), numbers)


def _sides(text: str) -> tuple[int, int, int]:
    x, y, z = map(int, text.split(","))
    return x, y, z


class Host:
    """The programs, compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, include = folder, includes(folder)
        shared = ["-xc", "-shared", "-fPIC", "-Wno-pedantic", "-o", "libcuda.so.1"]
        program = ["-xc++", "-std=c++17", *SANITIZED, "-rdynamic", "-o", "host"]
        for source, flags in (("recorder.c", shared), ("host.cpp", program)):
            command = [library.find_compiler(), *STRICT, *include, *flags, SOURCES / source]
            subprocess.run([*command, "-ldl", "-pthread"], check=True, cwd=folder)

    def run(
        self,
        path: Path,
        nodes: Iterable[Node],
        *,
        threads: int = 1,
        version: int = 101400,
        **environment: str,
    ) -> list[list[str]]:
        """What each thread said, line by line; the main one, which loads the library, first."""
        done = subprocess.run(
            [self.folder / "host", path, str(threads), str(version)],
            input="".join(node.line() for node in nodes),
            env={**os.environ, "LD_LIBRARY_PATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert done.stderr == ""
        said: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            thread, _, text = line.partition(" ")
            said.setdefault(thread, []).append(text)
        return list(said.values())


def played(lines: Iterable[str]) -> list[Played]:
    """Lines of one thread, node by node."""
    nodes: list[Played] = []
    for line in lines:
        if line.startswith("node "):
            nodes.append(Played([]))
        nodes[-1].lines.append(line)
    return nodes


def described(variant: Variant, sm: int = 89, format: str = "cubin") -> Compiled:
    """A kernel as `aot.compile_variant` describes it, without compiling."""
    return Compiled(
        variant.name, variant.operator, sm, format, f"{variant.name}.sm_{sm}.{format}", "entry",
        tuple(variant.signature.items()), variant.aligned, variant.constants,
        (32 * variant.warps, 1, 1), 49_300 if variant.stages == 3 else 0, 40, 0,
    )  # fmt: skip


def image(kernel: Compiled) -> str:
    """What stands for a compiled kernel, as `recorder.c` reads it."""
    kinds = {"i32": "i", "fp32": "f"}
    signature = "".join(kinds.get(kind, "p") for _, kind in kernel.arguments)
    return f"{kernel.name} {kernel.entry} {signature}pp {kernel.file}"
