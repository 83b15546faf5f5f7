"""Limits that protect the machine and that a user can raise."""

from typing import Final

DEFAULT_MAX_PIXELS: Final = 200_000_000
"""Of a picture."""
