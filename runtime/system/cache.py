"""Compiled graphs, kept from one run to the next.

Compiling a full-size restorer takes seconds, loading the result a fraction of that. What is
kept is named by a digest of all it depends on, so a changed bundle, library or processor
never meets an old entry. Entries are whole or absent; the least recently used go when the
cache grows beyond its limit. Deleting the folder is always safe.
"""

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from lorair.runtime.errors import OutputError
from lorair.runtime.system.atomic import atomic_folder
from lorair.runtime.system.machine import cpu_info

VARIABLE: Final = "LORAIR_CACHE"
"""Environment variable: the cache's folder; `off` for none."""

LIMIT: Final = 4 * 2**30
"""Bytes that all entries together may take."""

_ENTRY: Final = re.compile("[0-9a-f]{32}")
"""What `entry_name` gives."""

WORTHWHILE: Final = 2**20
"""Weights below this many bytes compile in a moment and are not kept."""


def folder() -> Path | None:
    """Where entries are kept; None if caching is off."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() in {"off", "0", "none"}:
        return None
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("lorair", appauthor=False)


def entry_name(*parts: object) -> str:
    """The name of what depends on these parts, and on this machine's processor."""
    text = "\0".join(map(str, (*parts, processor())))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fetch(name: str, make: Callable[[Path], None]) -> Path | None:
    """Return the entry's folder, made first if it is not there; never an error.

    `make` fills the empty folder that it is given. None if caching is off, or the place cannot
    be written to.
    """
    root = folder()
    if root is None:
        return None
    entry = root / name
    try:
        if not entry.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            with atomic_folder(entry) as partial:
                make(partial)
            _prune(root, keep=entry)
        os.utime(entry)
    except (OSError, OutputError):
        # A full or read-only disk costs time, not the picture.
        return None
    return entry


def forget(entry: Path) -> None:
    """Remove an entry that turned out to be of no use."""
    shutil.rmtree(entry, ignore_errors=True)


def size(root: Path) -> int:
    """Bytes of all entries."""
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def entries(root: Path) -> list[Path]:
    """Return the folders of all entries but those that are being made now, which are hidden."""
    return [e for e in root.iterdir() if _ENTRY.fullmatch(e.name)] if root.is_dir() else []


def clear(root: Path) -> None:
    """Remove all entries, and nothing else that the folder may hold."""
    for entry in entries(root):
        forget(entry)


def _prune(root: Path, keep: Path) -> None:
    total = size(root)
    for entry in sorted(entries(root), key=lambda e: e.stat().st_mtime):
        if entry == keep:
            continue
        if total <= LIMIT:
            return
        total -= size(entry)
        forget(entry)


@cache
def processor() -> str:
    """The processor's model and instruction sets: compiled graphs are for one of them."""
    lines = cpu_info("model name", "flags", "Features")
    return "\n".join(lines) or f"{platform.machine()} {platform.processor()}"
