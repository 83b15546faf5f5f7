"""A walk over the tests' driver, for the modules of this folder."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cuda_driver import Driver
from driver_walk import Walks, open_sessions

from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.gpu.cuda import Gpu


@pytest.fixture(scope="module")
def sessions(tiny_bundle: Path) -> dict[str, Any]:
    return open_sessions(tiny_bundle)


@pytest.fixture
def made(driver: Driver, tiny_bundle: Path, sessions: Any, tmp_path: Path) -> Walks:
    return Walks(driver, Gpu(), tmp_path, Bundle.open(tiny_bundle), sessions)


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """For tests that count calls: what earlier tests dropped makes some when collected."""
    gc.disable()
    yield
    gc.enable()
