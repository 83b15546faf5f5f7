"""GPU clocks, power, temperature and memory, asked of NVIDIA's management library (NVML).

NVML comes with the driver, its Python binding with the extra `bench`. Where either is missing
or does not answer a question, the answer is None: these values explain a measurement, and no
result depends on them.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from lorair.benchmarks.schema.latency import GpuState


def driver_version() -> str | None:
    """Return the driver's version, as in "580.95.05"."""
    nvml = _load()
    version: str | None = nvml and _ask(nvml.nvmlSystemGetDriverVersion)
    return version


def gpu_states() -> tuple[GpuState, ...]:
    """Return the name, clocks, power and temperature of each GPU now; empty without NVML."""
    nvml = _load()
    return tuple(_state(nvml, device) for device in _devices(nvml))


def process_memory(pid: int) -> int | None:
    """Return the bytes that a process holds on all GPUs; None if it is not seen on any.

    A container's own process numbers are not those that NVML knows.
    """
    nvml = _load()
    held = [
        process.usedGpuMemory
        for device in _devices(nvml)
        for process in _ask(nvml.nvmlDeviceGetComputeRunningProcesses, device) or ()
        if process.pid == pid
    ]
    return sum(held) if held and None not in held else None


@cache
def _load() -> Any:
    """The binding, started; None without it or without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        return pynvml
    return None


def _devices(nvml: Any) -> list[Any]:
    count = nvml and _ask(nvml.nvmlDeviceGetCount)
    return [nvml.nvmlDeviceGetHandleByIndex(ordinal) for ordinal in range(count or 0)]


def _state(nvml: Any, device: Any) -> GpuState:
    milliwatts = _ask(nvml.nvmlDeviceGetPowerUsage, device)
    return GpuState(
        name=_ask(nvml.nvmlDeviceGetName, device) or "unknown",
        sm_clock=_ask(nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_SM),
        memory_clock=_ask(nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_MEM),
        power=None if milliwatts is None else milliwatts / 1000,
        temperature=_ask(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU),
    )


def _ask(function: Callable[..., Any], *arguments: object) -> Any:
    """NVML's answer; None if it has none, as for the power of some GPUs."""
    with suppress(_load().NVMLError):
        return function(*arguments)
    return None
