"""Small checkpoints and bundles that are made to hurt: none may cost a second of CPU or 300 MB.

A processor that others use too counts a second as up to three, as for pictures.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_models
import pytest

HARMLESS = {"ir", "router", "authors", "valid"}


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, Any]]:
    """Of reading each file in a process of its own."""
    script = [sys.executable, "-W", "ignore", str(Path(hostile_models.__file__))]
    done = subprocess.run(script, capture_output=True, check=True, text=True)
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", hostile_models.FILES)
def test_what_it_costs(name: str, costs: dict[str, dict[str, Any]]) -> None:
    found = costs[name]
    assert found["seconds"] <= 3, found
    assert found["megabytes"] <= 300, found
    assert "\x1b" not in found["words"]
    if name.endswith(".record"):  # a bundle opens, and says so of its engine
        assert "BundleError" in found["words"]
    elif name.partition(".")[0] not in HARMLESS | {"many"}:
        assert found["words"].startswith(("CheckpointError", "ConfigError", "BundleError")), found
