"""Ahead-of-time compilation, in processes without the interpreter."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cuda_driver import Driver

from lorair.kernels import aot
from lorair.kernels.aot import parse_sms, write_index
from lorair.runtime.bundle.kernels import INDEX, Compiled, read_index
from lorair.runtime.errors import DependencyError, OptionError

pytest.importorskip("triton")

_COMPILE = """
import sys
from pathlib import Path
from itertools import product
from lorair.kernels.aot import SMS, compile_variant, write_index
from lorair.kernels.variants import variants

def hardest(dtype):
    found, seen = [], set()
    for variant in variants(3, 16, dtype):
        if variant.operator not in seen:
            seen.add(variant.operator)
            found.append(variant)
    return found

folder, everything = Path(sys.argv[1]), sys.argv[2] == "all"
chosen = (lambda dtype: variants(3, 16, dtype)) if everything else hardest
sample = [(90, "bf16"), (120, "fp16")]
kernels = [
    compile_variant(variant, sm, "cubin", folder)
    for sm, dtype in (product(SMS, ("fp16", "bf16")) if everything else sample)
    for variant in chosen(dtype)
]
kernels += [compile_variant(v, 89, "ptx", folder) for v in hardest("fp32")]
write_index(folder, kernels)
"""
"""The largest tile of each operator, which comes first; one SM of each kind of product."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernels")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    which = os.environ.get("LORAIR_KERNELS", "hardest")  # `make kernels` says all
    subprocess.run([sys.executable, "-c", _COMPILE, folder, which], check=True, env=environment)
    return folder


def test_nothing_spills(compiled: Path) -> None:
    cubins = [kernel for kernel in read_index(compiled) if kernel.format == "cubin"]
    assert len(cubins) > 20
    assert {k.name: k.spilled for k in cubins if k.spilled} == {}
    # What a multiprocessor of the smallest of the six has for one program.
    assert max(k.shared for k in cubins) <= 99 * 1024
    assert all(0 < k.registers * k.block[0] <= 65536 for k in cubins if k.registers)


def test_the_index_says_how_to_launch(compiled: Path) -> None:
    for kernel in read_index(compiled):
        content = (compiled / kernel.file).read_bytes()
        assert kernel.entry.encode() in content
        if kernel.format == "ptx":
            parameters = content.split(b".entry")[1].split(b"{")[0].count(b".param")
            assert parameters == len(kernel.arguments) + 2  # scratch, twice
            assert re.search(rb"\.target sm_89\s", content)
        else:
            assert content[:4] == b"\x7fELF"
    index = json.loads((compiled / INDEX).read_text())
    assert index["scratch"] == 0


def test_a_driver_takes_as_many_bytes_as_are_launched(compiled: Path, driver: Driver) -> None:
    """The sizes of all parameters, as PTX and cubins say them, with cuda-core's own loading."""
    from cuda.core import Device, ObjectCode

    Device().set_current()
    bits = {"i32": 4, "fp32": 4}
    for kernel in read_index(compiled):
        read = ObjectCode.from_cubin if kernel.format == "cubin" else ObjectCode.from_ptx
        loaded = read(str(compiled / kernel.file)).get_kernel(kernel.entry)
        wanted = [bits.get(kind, 8) for _, kind in kernel.arguments] + [8, 8]
        assert driver.parameters(int(loaded.handle)) == wanted, kernel.file


def test_index_survives_the_file(tmp_path: Path) -> None:
    kernel = Compiled(
        "n", "o", 80, "cubin", "n.cubin", "entry", (("x", "*fp16"),), ("x",), {"NORM": True},
        (128, 1, 1), 1024, 40, 0,
    )  # fmt: skip
    other = replace(kernel, format="ptx", registers=None, spilled=None)
    write_index(tmp_path, [kernel, other])
    assert read_index(tmp_path) == [kernel, other]


def test_sms() -> None:
    assert parse_sms("sm_90, 80,sm_90") == (80, 90)
    assert parse_sms("all") == aot.SMS
    with pytest.raises(OptionError, match="'75'"):
        parse_sms("sm_75")


def test_the_interpreter_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    with pytest.raises(DependencyError, match="TRITON_INTERPRET"):
        aot.compile_kernels(3, 16, "fp16", [80], tmp_path)
    assert list(tmp_path.iterdir()) == []
