"""A GPU for tests: this machine's, or the tests' driver; kernels for it, and arrays on it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cuda_driver import Driver, picture_kernels, write_kernels

from lorair.kernels.launches import DType
from lorair.runtime.bundle.kernels import Compiled, for_gpu, read_index
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.driver import missing_gpu

_COMPILE = """
import sys
from pathlib import Path
from lorair.kernels.aot import compile_kernels
if __name__ == "__main__":
    compile_kernels(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [int(sys.argv[4])],
                    Path(sys.argv[5]))
"""
"""In a process without the interpreter, with processes of its own."""


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Driver | None:
    """The tests' driver where there is no GPU; else None."""
    return request.getfixturevalue("driver") if missing_gpu() else None


def compiled(
    driver: Driver | None, folder: Path, variants: Mapping[str, Any], *,
    experts: int = 3, rank: int = 16, dtype: DType = "fp16",
) -> list[Compiled]:  # fmt: skip
    """All kernels of a model for this GPU, cubin and PTX; on the driver, of these variants."""
    if driver is not None:
        driver.knows(variants)
        return list(write_kernels(folder, variants).values())
    if not folder.is_dir():
        script = folder.with_suffix(".py")
        script.write_text(_COMPILE)
        arguments = (experts, rank, dtype, Gpu().info.sm, folder)
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        command = [sys.executable, "-P", script, *map(str, arguments)]
        subprocess.run(command, check=True, env=environment)
    return read_index(folder)


def picture_ends(driver: Driver | None, folder: Path) -> dict[str, Compiled]:
    """The kernels of the walk, by name."""
    return for_gpu(compiled(driver, folder, picture_kernels()), Gpu().info.sm)


class Arrays:
    """Arrays of the host on the GPU, for one piece of work."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._kept = gpu, []  # type: ignore[var-annotated]

    def put(self, values: npt.NDArray[np.uint8]) -> int:
        """Bytes to the device; their address."""
        pinned, memory = self._gpu.allocate_pinned(values.size), self._gpu.allocate(values.size)
        pinned.host[:] = values.ravel()
        self._gpu.copy(memory.address, pinned.address, values.size)
        self._kept += [pinned, memory]
        return memory.address

    def take(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """Bytes from the device."""
        pinned = self._gpu.allocate_pinned(size)
        self._gpu.copy(pinned.address, address, size)
        self._gpu.synchronize()
        values = pinned.host.copy()
        pinned.close()
        return values

    def close(self) -> None:
        """Give all of it back."""
        self._gpu.synchronize()
        for memory in self._kept:
            memory.close()
