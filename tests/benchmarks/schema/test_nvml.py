"""NVML against a library that answers as its header says; and none at all."""

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest

from lorair.benchmarks.schema import nvml


class FakeNvml:
    """One GPU. `missing` names the questions that it does not answer."""

    def __init__(self, *missing: str) -> None:
        self.missing = missing

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: 3) if name in self.missing else getattr(self, f"_{name}")

    def _nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def _nvmlSystemGetDriverVersion(self, text: Any, size: int) -> int:  # noqa: N802
        text.value = b"580.95.05"
        return 0

    def _nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 1
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, _: int, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 7
        return 0

    def _nvmlDeviceGetName(self, _: Any, text: Any, size: int) -> int:  # noqa: N802
        text.value = b"Abacus"
        return 0

    def _nvmlDeviceGetPowerUsage(self, _: Any, value: Any) -> int:  # noqa: N802
        value._obj.value = 123456
        return 0

    def _nvmlDeviceGetClockInfo(self, _: Any, kind: int, value: Any) -> int:  # noqa: N802
        value._obj.value = {1: 1980, 2: 2619}[kind]
        return 0

    def _nvmlDeviceGetTemperature(self, _: Any, sensor: int, value: Any) -> int:  # noqa: N802
        value._obj.value = 41
        return 0

    def _nvmlDeviceGetComputeRunningProcesses_v3(  # noqa: N802
        self, _: Any, count: Any, found: Any
    ) -> int:
        # nvml.h: unsigned int, unsigned long long, two unsigned ints; 24 bytes.
        assert ctypes.sizeof(found[0]) == 24
        for i, (pid, memory) in enumerate([(11, 5_000), (12, 7_000), (13, 2**64 - 1)]):
            found[i].pid, found[i].memory = pid, memory
        count._obj.value = 3
        return 0


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    nvml._load.cache_clear()
    yield
    nvml._load.cache_clear()


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeNvml())
    (state,) = nvml.gpu_states()
    assert (state.name, state.sm_clock, state.memory_clock) == ("Abacus", 1980, 2619)
    assert (state.power, state.temperature) == (123.456, 41)
    assert nvml.driver_version() == "580.95.05"
    assert nvml.process_memory(12) == 7_000
    assert nvml.process_memory(99) is None
    assert nvml.process_memory(13) is None, "NVML_VALUE_NOT_AVAILABLE"


def test_what_is_not_answered_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml("nvmlDeviceGetPowerUsage", "nvmlSystemGetDriverVersion")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: fake)
    (state,) = nvml.gpu_states()
    assert (state.power, state.sm_clock) == (None, 1980)
    assert nvml.driver_version() is None


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert nvml.gpu_states() == ()
    assert nvml.driver_version() is None
    assert nvml.process_memory(1) is None
