"""Each network is exported once a test run: who asks again gets a copy of the files.

An export takes 4 to 8 seconds of CPU whatever the network's size, and most tests that build a
bundle are about something else. What all tests only read is made once as well.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import nn

Export = Callable[[nn.Module, Any, Path], None]


def kept(export: Export, folder: Path) -> Export:
    """`export`, with its files kept by everything that they depend on."""

    def exported(module: nn.Module, config: Any, path: Path) -> None:
        files = folder / _digest(export.__name__, module, config)
        with FileLock(f"{files}.lock"):
            if not files.exists():
                partial = files.with_suffix(".partial")
                partial.mkdir()
                export(module, config, partial / path.name)
                partial.rename(files)
        for file in files.iterdir():
            shutil.copy(file, path.parent)

    return exported


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that is the run's, not a worker's."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What `make` writes to the path that it is given, by the first worker that asks."""
    path = shared_folder(factory) / "shared" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path.parent}.lock"):
        if not path.exists():
            make(path)
    return path


def _digest(name: str, module: nn.Module, config: Any) -> str:
    plain = (bool, int, float, str, tuple)
    found = hashlib.sha256(f"{name} {config} {module}".encode())
    for part in module.modules():
        settings = {key: value for key, value in vars(part).items() if isinstance(value, plain)}
        settings.pop("training")  # an export is of the network in evaluation mode
        found.update(str(settings).encode())
    for key, tensor in module.state_dict().items():
        found.update(f"{key} {tensor.dtype} {tensor.shape}".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
