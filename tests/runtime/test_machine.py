import os
from pathlib import Path

import pytest

from lorair.runtime import machine


@pytest.fixture(autouse=True)
def _fresh() -> None:
    machine.default_threads.cache_clear()


def test_this_machine() -> None:
    assert 1 <= machine.default_threads() <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert machine.processor_name()
    peak = machine.peak_memory()
    assert peak is None or 10e6 < peak < 1e12


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
