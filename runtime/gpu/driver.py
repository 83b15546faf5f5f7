"""What NVIDIA's driver says of this machine, asked without any package."""

import ctypes
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from lorair.runtime.system.machine import is_installed

_LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DRIVER: Final = "there is no NVIDIA driver"
NO_GPU: Final = "the NVIDIA driver sees no GPU"
_STARTS: Final = {
    100: NO_GPU,
    803: "the NVIDIA driver's library is not the one that is loaded; restart the machine",
}
"""Of cuInit's errors, those that say what to do: no device, another version in the kernel."""

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*"""


@dataclass(frozen=True)
class GpuInfo:
    """A GPU that the driver knows.

    sm: compute capability times ten, 89 for 8.9. memory: in bytes.
    """

    name: str
    sm: int
    memory: int

    @property
    def target(self) -> str:
        """The GPU and the system around it, as TensorRT's engines are tied to them."""
        system = f"{platform.system()} {platform.machine()}"
        return f"{self.name}, compute capability {self.sm // 10}.{self.sm % 10}, {system}"


@dataclass(frozen=True)
class DriverInfo:
    """cuda: the newest CUDA that the driver serves, as in "13.0"."""

    cuda: str
    gpus: tuple[GpuInfo, ...]


def missing_gpu() -> str | None:
    """Why no GPU can be used here, in a few words; None if one can."""
    found = examine()
    if isinstance(found, str):
        return found
    return None if found.gpus else NO_GPU


def no_gpu() -> str | None:
    """Why nothing can be run on a GPU here, in a few words; None if it can."""
    for package in ("cuda-core", "cuda-bindings"):  # the first does not bring the second
        if not is_installed(package.replace("-", ".")):
            return f"the package {package} is not installed"
    return missing_gpu() or _too_old()


def _too_old() -> str | None:
    """Why the driver cannot serve the installed bindings: they need one of their CUDA's major."""
    found, needed = examine(), version("cuda-bindings")
    assert isinstance(found, DriverInfo)
    major = needed.partition(".")[0]
    if int(found.cuda.partition(".")[0]) >= int(major):
        return None
    return (
        f"the NVIDIA driver is too old: it serves CUDA {found.cuda}, "
        f"the package cuda-bindings {needed} needs {major}.0"
    )


@cache
def examine() -> DriverInfo | str:
    """The driver and its GPUs, or why there is none."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return NO_DRIVER
    if code := library.cuInit(0):
        return _STARTS.get(code) or f"the NVIDIA driver does not start (error {code})"
    cuda, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(cuda))
    library.cuDeviceGetCount(ctypes.byref(count))
    major, minor = divmod(cuda.value // 10, 100)
    gpus = tuple(_gpu(library, ordinal) for ordinal in range(count.value))
    return DriverInfo(f"{major}.{minor}", gpus)


def _gpu(library: Any, ordinal: int) -> GpuInfo:
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), ordinal)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    sm = 10 * _attribute(library, _MAJOR, device) + _attribute(library, _MINOR, device)
    return GpuInfo(name.value.decode(errors="replace"), sm, memory.value)


def _attribute(library: Any, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value
