"""The runtime: a bundle and a picture in, a restored picture out. No PyTorch.

from lorair.runtime import Restorer

restorer = Restorer.open("lorair-bundle")
restored = restorer.restore(pixels)          # (H, W, 3) uint8, uint16 or float32
restored.image, restored.route.gates
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorair.runtime.bundle import Bundle
    from lorair.runtime.restorer import Restored, Restorer
    from lorair.runtime.route import Route

__all__ = ["Bundle", "Restored", "Restorer", "Route"]

_HOMES = {"Bundle": "bundle", "Restored": "restorer", "Restorer": "restorer", "Route": "route"}


def __getattr__(name: str) -> Any:
    # Lazy, so that a `--help` pays for no library it does not use.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
