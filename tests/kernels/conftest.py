"""Kernels that run in Triton's interpreter."""

from importlib.util import find_spec

import pytest
from interpreter import patch_once


@pytest.fixture(scope="session", autouse=True)
def _interpreter() -> None:
    if find_spec("triton"):
        patch_once()
