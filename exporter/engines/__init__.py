"""TensorRT engines from graphs: sizes, the process that builds, the proof of precision."""

from typing import Final

TIMEOUT: Final = 3600.0
"""Seconds that an engine's build may take; TensorRT tries kernels for minutes."""

AUTO: Final = "auto"
"""The flavour that stands for the first one that is installed."""
