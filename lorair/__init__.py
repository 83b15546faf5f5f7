"""Restore photographs with a mixture-of-LoRA network: the front door.

from lorair import Restorer

restorer = Restorer.open("lorair-bundle")
restored = restorer.restore(pixels)          # (H, W, 3) uint8, uint16 or float32
restored.image, restored.route.gates
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.errors import LorairError
    from lorair.runtime.restorer import Restored, Restorer
    from lorair.runtime.routing.route import Route

    __version__: str

__all__ = ["Bundle", "LorairError", "Restored", "Restorer", "Route", "__version__"]

_ROOMS = {
    "Bundle": "lorair.runtime.bundle.manifest",
    "LorairError": "lorair.runtime.errors",
    "Restored": "lorair.runtime.restorer",
    "Restorer": "lorair.runtime.restorer",
    "Route": "lorair.runtime.routing.route",
}


# Before it is imported anywhere: else ONNX Runtime reports every process to its maker, and keeps
# an identifier in the user's cache and the temporary folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    # Lazy, so that `import lorair` and every `--help` pay for no library they do not use.
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("lorair")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
