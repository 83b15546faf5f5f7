"""NVML's binding, replaced by one that answers for a made-up GPU; and none at all."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from lorair.benchmarks.schema import nvml


def refuse(*_: object) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


ANSWERS: dict[str, Any] = {
    "nvmlInit": lambda: None,
    "nvmlSystemGetDriverVersion": lambda: "580.95.05",
    "nvmlDeviceGetCount": lambda: 1,
    "nvmlDeviceGetHandleByIndex": lambda ordinal: f"handle {ordinal}",
    "nvmlDeviceGetName": {"handle 0": "Abacus"}.get,
    "nvmlDeviceGetPowerUsage": lambda _: 123456,
    "nvmlDeviceGetClockInfo": lambda _, kind: {
        pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619
    }[kind],
    "nvmlDeviceGetTemperature": lambda *_: 41,
    "nvmlDeviceGetComputeRunningProcesses": lambda _: [
        SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in ((12, 7_000), (13, None))
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    nvml._load.cache_clear()
    yield
    nvml._load.cache_clear()


def plant(monkeypatch: pytest.MonkeyPatch, *refused: str) -> None:
    """Questions of the binding are answered from the table above, or refused."""
    for name, answer in ANSWERS.items():
        monkeypatch.setattr(pynvml, name, refuse if name in refused else answer)


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    (state,) = nvml.gpu_states()
    assert (state.name, state.sm_clock, state.memory_clock) == ("Abacus", 1980, 2619)
    assert (state.power, state.temperature) == (123.456, 41)
    assert nvml.driver_version() == "580.95.05"
    assert nvml.process_memory(12) == 7_000
    assert nvml.process_memory(99) is None
    assert nvml.process_memory(13) is None, "NVML does not know"


def test_what_is_not_answered_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "nvmlDeviceGetPowerUsage", "nvmlSystemGetDriverVersion")
    (state,) = nvml.gpu_states()
    assert (state.power, state.sm_clock) == (None, 1980)
    assert nvml.driver_version() is None


@pytest.mark.parametrize("lacks", ["driver", "binding"])
def test_without(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacks == "driver":
        plant(monkeypatch, "nvmlInit")
    else:
        monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.gpu_states() == ()
    assert nvml.driver_version() is None
    assert nvml.process_memory(1) is None
