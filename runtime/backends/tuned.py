"""What `lorair-run tune` has measured here, kept in the cache; `auto` follows it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from lorair.runtime.backends.backend import BackendKind
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system import cache
from lorair.runtime.system.console import lorair_version
from lorair.runtime.system.machine import default_threads

_FILE: Final = "tuned.json"


def keep(bundle: Bundle, kinds: Iterable[BackendKind], seconds: Mapping[str, float]) -> Path | None:
    """Keep what each backend took for a bundle's pictures, in place of what is there.

    Args:
        bundle: that was timed.
        kinds: all backends, which may be installed or not.
        seconds: by backend, for those that were timed.

    Returns:
        the folder; None if nothing could be kept.
    """
    name = _name(bundle, kinds)
    if (root := cache.folder()) is not None:
        cache.forget(root / name)
    text = json.dumps(seconds)
    return cache.fetch(name, lambda folder: _write(folder, text))


def order(bundle: Bundle, kinds: Iterable[BackendKind]) -> list[str]:
    """Return the names of the backends that were timed, the fastest first; none if none were.

    What was measured with another bundle, library, processor or number of threads is not it.
    """
    root = cache.folder()
    if root is None:
        return []
    try:
        seconds = json.loads((root / _name(bundle, kinds) / _FILE).read_text("ascii"))
        return sorted(seconds, key=lambda name: float(seconds[name]))
    except (OSError, ValueError, TypeError):
        return []


def _name(bundle: Bundle, kinds: Iterable[BackendKind]) -> str:
    versions = (f"{kind.name} {kind.version}" for kind in kinds)
    return cache.entry_name(
        "tuned", lorair_version(), bundle.manifest.digest, default_threads(), *versions
    )


def _write(folder: Path, text: str) -> None:
    (folder / _FILE).write_text(text, "ascii")
