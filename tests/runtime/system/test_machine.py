import os
from pathlib import Path

import pytest

from lorair.runtime.system import machine


@pytest.fixture(autouse=True)
def _fresh() -> None:
    machine.default_threads.cache_clear()


def test_this_machine() -> None:
    assert 1 <= machine.default_threads() <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert machine.processor_name()
    peak = machine.peak_memory()
    assert peak is None or 10e6 < peak < 1e12
    available = machine.available_memory()
    assert available is None or 1e6 < available < 1e14


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("max 100000", None), ("250000 100000", 2.5), ("nonsense", None), ("1 0", None)],
)
def test_cpu_quota(
    text: str, wanted: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(machine, "_CGROUP_QUOTA", tmp_path / "cpu.max")
    assert machine.cpu_quota() == wanted


@pytest.mark.parametrize(
    ("cores", "siblings", "quota", "wanted"),
    [
        (1, 1, None, 1),
        (2, 1, None, 2),
        (64, 1, None, 64),
        (64, 2, None, 32),
        (64, 2, 2.0, 2),
        (4, 1, 0.3, 1),
    ],
)
def test_threads_by_physical_cores_and_quota(
    cores: int, siblings: int, quota: float | None, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "affinity", lambda: set(range(cores)))
    monkeypatch.setattr(machine, "_siblings", lambda core: str(core // siblings))
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert machine.default_threads() == wanted
    machine.default_threads.cache_clear()


V2 = {"memory.max": "5000", "memory.current": "3000"}
V1 = {"memory/memory.limit_in_bytes": "4000", "memory/memory.usage_in_bytes": "1500"}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 9000),
        ({"memory.max": "max", "memory.current": "1", "memory.stat": ""}, 9000),
        ({**V2, "memory.stat": "anon 1\ninactive_file 500\n"}, 2500),
        ({**V2, "memory.current": "6000", "memory.stat": ""}, 0),
        ({**V1, "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 100\n"}, 2600),
    ],
)
def test_available_memory_is_the_container_s(
    files: dict[str, str], wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_system_memory", lambda: 9000)
    assert machine.available_memory() == wanted
