"""What a measurement was made on, so that it can be compared or not."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from lorair.runtime.machine import processor_name, usable_cores

_PACKAGES = ("lorair", "numpy", "pillow", "onnxruntime", "torch", "openvino")


def describe() -> dict[str, object]:
    """Machine, system and versions of the libraries that matter."""
    return {
        "cpu": processor_name(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
