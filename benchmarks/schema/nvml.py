"""GPU clocks, power, temperature and memory, asked of NVIDIA's management library.

It comes with the driver. Where it is not there, or does not answer a question, the answer
is None: these values explain a measurement, none depends on them.
"""

import ctypes
import sys
from functools import cache
from typing import Any, Final

from lorair.benchmarks.schema import GpuState

_LIBRARY: Final = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_SM_CLOCK, _MEMORY_CLOCK, _TEMPERATURE = 1, 2, 0
"""NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU"""

_PROCESSES: Final = 128
_UNKNOWN: Final = 2**64 - 1
"""NVML_VALUE_NOT_AVAILABLE"""


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of the _v3 calls."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def driver_version() -> str | None:
    """As in "580.95.05"."""
    library = _load()
    text = ctypes.create_string_buffer(96)
    if library is None or library.nvmlSystemGetDriverVersion(text, len(text)):
        return None
    return text.value.decode(errors="replace")


def gpu_states() -> tuple[GpuState, ...]:
    """Clocks, power and temperature of each GPU now; nothing without NVML."""
    library = _load()
    return () if library is None else tuple(_state(library, d) for d in _devices(library))


def process_memory(pid: int) -> int | None:
    """Bytes that a process holds on all GPUs; None if it is not seen on any.

    A container's own process numbers are not those that NVML knows.
    """
    library = _load()
    if library is None:
        return None
    held = [m for d in _devices(library) for p, m in _processes(library, d) if p == pid]
    return sum(held) if held and _UNKNOWN not in held else None


@cache
def _load() -> Any:
    """The library, started; None without one."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        return None if library.nvmlInit_v2() else library
    except (OSError, AttributeError):
        return None


def _devices(library: Any) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    handles = [ctypes.c_void_p() for _ in range(count.value)]
    return [
        handle
        for ordinal, handle in enumerate(handles)
        if not library.nvmlDeviceGetHandleByIndex_v2(ordinal, ctypes.byref(handle))
    ]


def _state(library: Any, device: ctypes.c_void_p) -> GpuState:
    name = ctypes.create_string_buffer(96)
    library.nvmlDeviceGetName(device, name, len(name))
    milliwatts = _ask(library.nvmlDeviceGetPowerUsage, device)
    return GpuState(
        name=name.value.decode(errors="replace"),
        sm_clock=_ask(library.nvmlDeviceGetClockInfo, device, _SM_CLOCK),
        memory_clock=_ask(library.nvmlDeviceGetClockInfo, device, _MEMORY_CLOCK),
        power=None if milliwatts is None else milliwatts / 1000,
        temperature=_ask(library.nvmlDeviceGetTemperature, device, _TEMPERATURE),
    )


def _ask(function: Any, *arguments: object) -> int | None:
    value = ctypes.c_uint()
    return None if function(*arguments, ctypes.byref(value)) else value.value


def _processes(library: Any, device: ctypes.c_void_p) -> list[tuple[int, int]]:
    count, found = ctypes.c_uint(_PROCESSES), (_Process * _PROCESSES)()
    if library.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), found):
        return []
    return [(p.pid, p.memory) for p in found[: count.value]]
