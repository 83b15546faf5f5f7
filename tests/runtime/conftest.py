"""A command that many of the runtime's tests run."""

from functools import partial
from pathlib import Path

import pytest
from command import Command


@pytest.fixture
def infer(lorair_run: Command, tiny_bundle: Path) -> Command:
    """`lorair-run infer` on `tiny_bundle`; the order of the options makes no difference."""
    return partial(lorair_run, "infer", "-b", tiny_bundle)
