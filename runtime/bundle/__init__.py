"""The bundle: a folder with both graphs and their weights."""

from pathlib import Path
from typing import Final

DEFAULT: Final = "default"
"""The name of the bundle that lorair brings."""

SHIPPED_BUNDLE: Final = Path(__file__).with_name(DEFAULT)
"""Its folder; `make default-bundle` builds it from the default model's weights."""


def bundle_folder(name: str | Path) -> Path:
    """The folder of a bundle; the text `default` names the one that lorair brings."""
    return SHIPPED_BUNDLE if name == DEFAULT else Path(name)
