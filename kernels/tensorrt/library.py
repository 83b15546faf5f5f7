"""The library of plugins: `plugin.cpp` and a folder's kernels, compiled into one file.

It takes a C++ compiler, TensorRT's headers of the major version that is to load the library,
and cuda.h; no GPU, no driver and no library of NVIDIA's.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lorair.kernels.tensorrt.table import write_images, write_table
from lorair.runtime.bundle.kernels import INDEX, Compiled, read_index
from lorair.runtime.errors import BundleError, DependencyError, EngineError
from lorair.runtime.system.extras import install_command

HEADERS: Final = "TENSORRT_INCLUDE"
"""The environment's variable that names the folder of TensorRT's headers."""

_SOURCE: Final = Path(__file__).parent
_COMPILERS: Final = ("g++", "clang++", "c++")
_VERSION: Final = re.compile(
    r"#define\s+(?:NV_TENSORRT|TRT)_(MAJOR|MINOR|PATCH)(?:_ENTERPRISE)?\s+(\d+)"
)

_RUNTIME_API: Final = """\
#pragma once
#include <cuda.h>
using cudaStream_t = CUstream;
using cudaEvent_t = CUevent;
"""
"""All that TensorRT's headers want of the CUDA runtime, which the library does without."""

_FLAGS: Final = (
    *("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall"),
    *("-Wl,--no-undefined", "-Wl,--build-id=none", "-Wl,-z,relro,-z,now"),
)
"""What is compiled twice is the same to the bit."""


@dataclass(frozen=True)
class Headers:
    """TensorRT's headers. folder: with `NvInferRuntime.h`. version: theirs, as in 10.14.1."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The version that may load a library which is compiled with them."""
        return int(self.version.partition(".")[0])


def find_headers(major: int | None = None) -> Headers:
    """Return TensorRT's headers: named by the environment, installed, or a package's.

    major: the version that they have to be of; None for any.

    Raises DependencyError: there are none, or only others.
    """
    found = [headers for folder in _folders() if (headers := _read_version(folder)) is not None]
    for headers in found:
        if major in (None, headers.major):
            return headers
    name = "TensorRT" if major is None else f"TensorRT {major}"
    others = ", ".join(f"those of {one.version} in {one.folder}" for one in found)
    raise DependencyError(
        "cannot compile the plugin",
        wanted=f"the headers of {name}",
        found=others or "none",
        hint=f"install libnvinfer-dev or, for version 10, {install_command('plugin')}, "
        f"or name their folder with {HEADERS}",
    )


@dataclass(frozen=True)
class Source:
    """What a library is compiled from, beside the kernels.

    sms: compute capabilities (89 is 8.9) that it has cubins for. table: `table.inc`.
    images: the assembly that puts the kernels in.
    """

    sms: tuple[int, ...]
    table: str
    images: str

    @property
    def digest(self) -> str:
        """Return its sha256."""
        fixed = [(_SOURCE / name).read_text("utf-8") for name in ("plugin.cpp", "exports.map")]
        return hashlib.sha256("\0".join((*fixed, self.table, self.images)).encode()).hexdigest()


def write_source(folder: Path, kernel_set: str, sms: Sequence[int] = ()) -> Source:
    """Return the source for the kernels of a folder.

    Args:
        folder: `kernels/` of a bundle.
        kernel_set: the sha256 of the kernels' index, which engines ask for.
        sms: that it shall have cubins for; empty for all there are. PTX is always in it.

    Raises:
        BundleError: kernels are missing.
    """
    chosen = _chosen(read_index(folder), folder, sms)
    table, files = write_table(chosen, kernel_set)
    found = {kernel.sm for kernel in chosen if kernel.format == "cubin"}
    return Source(tuple(sorted(found)), table, write_images(files))


def compile_library(
    source: Source, folder: Path, output: Path, headers: Headers, flags: Sequence[str] = ()
) -> None:
    """Compile a library of plugins.

    Args:
        source: of `write_source`.
        folder: that it was written for.
        output: the library to write.
        headers: of the TensorRT that loads it.
        flags: of the compiler, beside ours.

    Raises:
        DependencyError: no compiler, or no cuda.h.
        EngineError: the compiler failed.
    """
    with TemporaryDirectory() as work:
        place = Path(work)
        (place / "table.inc").write_text(source.table, "utf-8")
        (place / "images.s").write_text(source.images, "utf-8")
        (place / "cuda_runtime_api.h").write_text(_RUNTIME_API, "utf-8")
        includes = [f"-I{place}", *(f"-isystem{one}" for one in (headers.folder, find_cuda()))]
        sources = [str(p) for p in (_SOURCE / "plugin.cpp", place / "images.s")]
        script = f"-Wl,--version-script={_SOURCE / 'exports.map'}"
        _run(
            [
                find_compiler(),
                *_FLAGS,
                *flags,
                *includes,
                *sources,
                script,
                "-ldl",
                "-o",
                str(output.resolve()),
            ],
            folder,
        )


def find_compiler() -> str:
    """Return the C++ compiler: $CXX, or the first that is installed.

    Raises DependencyError: there is none.
    """
    for name in (os.environ.get("CXX", ""), *_COMPILERS):
        if name and (path := shutil.which(name)):
            return path
    raise DependencyError(
        "cannot compile the plugin",
        wanted=f"a C++ compiler: {', '.join(_COMPILERS)}, or one that CXX names",
        found="none",
    )


def find_cuda() -> Path:
    """Return the folder of cuda.h. Raises DependencyError: there is none."""
    for folder in _cuda_folders():
        if (folder / "cuda.h").is_file():
            return folder
    raise DependencyError(
        "cannot compile the plugin",
        wanted="cuda.h",
        found="none",
        hint="pip install nvidia-cuda-runtime, or name CUDA's folder with CUDA_HOME",
    )


def _chosen(kernels: Sequence[Compiled], folder: Path, sms: Sequence[int]) -> list[Compiled]:
    there = {kernel.sm for kernel in kernels if kernel.format == "cubin"}
    if missing := sorted(set(sms) - there):
        raise BundleError(
            f"cannot compile plugins for sm_{missing[0]}",
            wanted=f"kernels for it in {folder / INDEX}",
            found=", ".join(f"sm_{sm}" for sm in sorted(there)) or "none",
            hint="build the bundle again with --kernels",
        )
    return [k for k in kernels if k.format == "ptx" or not sms or k.sm in sms]


def _folders() -> Iterator[Path]:
    if HEADERS in os.environ:
        yield Path(os.environ[HEADERS])
    for name in ("x86_64-linux-gnu", "aarch64-linux-gnu", ""):
        yield Path("/usr/include", name)
    yield from (folder / "include" / "tensorrt" for folder in _package("kernel_lens"))


def _cuda_folders() -> Iterator[Path]:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if name in os.environ:
            yield Path(os.environ[name], "include")
    for name in ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12"):
        try:
            yield from (Path(f.locate()).parent for f in files(name) or () if f.name == "cuda.h")
        except PackageNotFoundError:
            continue
    yield from (folder / "backends" / "nvidia" / "include" for folder in _package("triton"))
    yield Path("/usr/local/cuda/include")


def _package(name: str) -> Iterable[Path]:
    """The folders of an installed package, which is not imported."""
    spec = find_spec(name)
    return map(Path, spec.submodule_search_locations or ()) if spec is not None else ()


def _read_version(folder: Path) -> Headers | None:
    try:
        text = (folder / "NvInferVersion.h").read_text("utf-8", "replace")
    except OSError:
        return None
    parts = {name: int(value) for name, value in _VERSION.findall(text)}
    if "MAJOR" not in parts or not (folder / "NvInferRuntime.h").is_file():
        return None
    return Headers(folder, ".".join(str(parts.get(n, 0)) for n in ("MAJOR", "MINOR", "PATCH")))


def _run(command: Sequence[str], folder: Path) -> None:
    """Compile in the folder of the kernels, which the assembler is to find by their names."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise EngineError("the plugin does not compile", found=lines[0].strip())
