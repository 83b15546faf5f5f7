"""The default model: a small LoRA-IR trained by this project. See MODEL_CARD.md."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

CLASSES: Final = ("snow", "rain", "raindrop", "clean")
"""Its experts in their order; the last one leaves the picture alone."""


def paths() -> tuple[Path, Path]:
    """Return the weights' files: restoration network, router."""
    return _file("ir.safetensors"), _file("router.safetensors")


def _file(name: str) -> Path:
    with as_file(files(__name__) / name) as path:
        return path
