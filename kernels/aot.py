"""The operators' kernels, compiled ahead of time for GPUs that are not there.

`compile_kernels` writes a folder: a `.cubin` for each kernel and SM, PTX for GPUs that are
newer than all of them, and `index.json`, which says how to launch each
(`lorair.runtime.bundle.kernels`). It needs triton, but no GPU, no driver and no torch.cuda.
"""

import json
import multiprocessing
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lorair.kernels.tiles import FUSION
from lorair.runtime.bundle.kernels import INDEX, SCHEMA, Compiled
from lorair.runtime.errors import DependencyError, OptionError
from lorair.runtime.system.extras import require

if TYPE_CHECKING:
    from lorair.kernels.launches import DType
    from lorair.kernels.variants import Variant

SMS: Final = (80, 86, 89, 90, 100, 120)
"""Compute capabilities times ten: A100, RTX 30, RTX 40, H100, B200, RTX 50."""

PTX_SM: Final = 89
"""PTX of 9.0 and later is for that architecture alone; this one's runs on all later ones."""

_WARP: Final = 32


def parse_sms(text: str) -> tuple[int, ...]:
    """Return the compute capabilities in `sm_80,sm_90`, `80,90` or `all`, as 80 and 90.

    Raises OptionError: a name is not one of `SMS`.
    """
    names = [part.strip().removeprefix("sm_") for part in text.split(",")]
    if names == ["all"]:
        return SMS
    if bad := [name for name in names if name not in map(str, SMS)]:
        raise OptionError(
            "--kernels",
            wanted=f"all, or some of {', '.join(f'sm_{sm}' for sm in SMS)}",
            found=repr(bad[0]),
            hint="a GPU's SM is its compute capability without the dot, e.g. 8.9 is sm_89",
        )
    return tuple(sorted({int(name) for name in names}))


def compile_kernels(
    experts: int,
    rank: int,
    dtype: "DType",
    sms: Iterable[int],
    folder: Path,
    report: Callable[[int, int], None] | None = None,
) -> list[Compiled]:
    """Compile everything a model needs for `sms`; about a second a kernel and core.

    experts, rank: of every convolution. dtype: of weights and activations. folder: is made, and
    must be empty. report: is told (done, of how many) as kernels are ready. Raises
    DependencyError: triton is not installed, or set to interpret.
    """
    check_compiler()
    from lorair.kernels.variants import variants

    folder.mkdir(parents=True, exist_ok=True)
    names = [variant.name for variant in variants(experts, rank, dtype)]
    jobs = [(name, sm, "cubin") for sm in sms for name in names]
    jobs += [(name, PTX_SM, "ptx") for name in names]
    job = partial(_compile_job, experts=experts, rank=rank, dtype=dtype, folder=folder)
    done = []
    # A fork of a process whose libraries have threads may hang.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for compiled in pool.map(job, jobs):
            done.append(compiled)
            if report is not None:
                report(len(done), len(jobs))
    write_index(folder, done)
    return done


def check_compiler() -> None:
    """Raise DependencyError unless triton is there and compiles."""
    require("compile kernels", "kernels", "triton")
    import triton

    if triton.knobs.runtime.interpret:
        raise DependencyError(
            "cannot compile kernels",
            wanted="Triton's compiler",
            found="TRITON_INTERPRET is set",
            hint="unset TRITON_INTERPRET",
        )


def compile_variant(variant: "Variant", sm: int, format: str, folder: Path) -> Compiled:
    """Compile one kernel for one SM into the folder."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = variant.function
    places = {name: (number,) for number, name in enumerate(function.arg_names)}
    source = ASTSource(
        fn=function,
        signature={n: variant.signature.get(n, "constexpr") for n in function.arg_names},
        constexprs={places[name]: value for name, value in variant.constants.items()},
        attrs={places[name]: [["tt.divisibility", 16]] for name in variant.aligned},
    )
    options = {"num_warps": variant.warps, "num_stages": variant.stages, **FUSION}
    made = triton.compile(source, target=GPUTarget("cuda", sm, _WARP), options=options)
    # A scratch buffer would have to come from the caller; no kernel here needs one.
    assert not made.metadata.global_scratch_size, variant.name
    path = folder / f"{variant.name}.sm_{sm}.{format}"
    content = made.asm[format]
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    registers, spilled = _resources(path) if format == "cubin" else (None, None)
    return Compiled(
        variant.name, variant.operator, sm, format, path.name, made.metadata.name,
        tuple(variant.signature.items()), variant.aligned, variant.constants,
        (_WARP * made.metadata.num_warps, 1, 1), made.metadata.shared, registers, spilled,
    )  # fmt: skip


def write_index(folder: Path, kernels: list[Compiled]) -> None:
    """Write `index.json`."""
    from importlib.metadata import version

    content = {
        "schema": SCHEMA,
        "triton": version("triton"),
        "scratch": 0,
        "kernels": [asdict(kernel) for kernel in kernels],
    }
    (folder / INDEX).write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _compile_job(
    job: tuple[str, int, str], *, experts: int, rank: int, dtype: "DType", folder: Path
) -> Compiled:
    from lorair.kernels.variants import variants

    name, sm, format = job
    variant = next(v for v in variants(experts, rank, dtype) if v.name == name)
    return compile_variant(variant, sm, format, folder)


def _resources(cubin: Path) -> tuple[int, int]:
    """Registers and spilled bytes of a thread, as cuobjdump reads them."""
    import triton

    tool = triton.knobs.nvidia.cuobjdump.path
    text = subprocess.run(
        [tool, "-res-usage", cubin], capture_output=True, text=True, check=True
    ).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return found["REG"], found["STACK"] + found["LOCAL"]
