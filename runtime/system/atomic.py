"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lorair.runtime.errors import DiskFullError, OutputError

_RETRIES = 100
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_PARTIAL: Final = "partial"
_SIBLING: Final = re.compile(rf"\.(?P<stem>.+)\.[0-9a-f]{{12}}\.{_PARTIAL}(?P<suffix>\.[^.]*)?")


def check_writable(path: Path) -> None:
    """Raise OutputError if nothing can be created at `path`; creates nothing itself."""
    path = path.resolve()
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(
            f"cannot write {path}",
            wanted="a folder",
            found=f"{parent}, a file",
            hint="choose another place with -o",
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write {path}",
            wanted=f"a writable folder {parent}",
            found="no permission",
            hint="choose another place with -o",
        )


def check_writable_file(path: Path) -> None:
    """`check_writable`, and that no folder has the name."""
    if path.is_dir():
        raise OutputError(
            f"cannot write {path}", wanted="a file", found="a folder", hint="name a file in it"
        )
    check_writable(path)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` that replaces it when the block ends well.

    Missing parent folders are made. On any error the sibling is removed and an existing
    `path` is untouched.
    """
    partial = _sibling(path, f"{_PARTIAL}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        with suppress(OSError):  # none is there, or its folder is gone
            partial.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling folder that takes `path`'s place when the block ends well.

    An existing folder at `path` is moved aside first and removed last; if the rename
    fails it is moved back. A link is followed. Of two writers at once the last one wins.
    """
    path = path.resolve()
    partial = _sibling(path, _PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        _swap(partial, path)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Rename `new` to `path`, whatever other writers do to it meanwhile."""
    for _ in range(_RETRIES):
        if _rename_to_free_place(new, path):
            return
        old = _sibling(path, "old")
        try:
            path.rename(old)
        except FileNotFoundError:  # another writer moved it first
            continue
        try:
            done = _rename_to_free_place(new, path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
        if done:
            return
    raise OSError(f"{path} is being replaced by others all the time")


def _rename_to_free_place(new: Path, path: Path) -> bool:
    """Rename, unless a folder with something in it is in the way."""
    try:
        new.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _sibling(path: Path, ending: str) -> Path:
    """A hidden name that no other process, thread or container uses."""
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.{ending}")


def remove_partials(paths: Iterable[Path]) -> int:
    """Remove what a killed process left of these files, and only of these.

    Returns:
        how many temporary siblings there were.
    """
    wanted = set(paths)
    found = 0
    for folder in {path.parent for path in wanted}:
        for sibling in folder.glob(f".*.{_PARTIAL}*"):
            match = _SIBLING.fullmatch(sibling.name)
            if match and folder / f"{match['stem']}{match['suffix'] or ''}" in wanted:
                sibling.unlink(missing_ok=True)
                found += 1
    return found


def _output_error(path: Path, error: OSError) -> OutputError:
    kind = DiskFullError if error.errno in _FULL or _is_full(path.parent) else OutputError
    return kind(
        f"cannot write {path}",
        found=error.strerror or str(error),
        hint="choose another place with -o, or free some space",
    )


def _is_full(folder: Path) -> bool:
    """Libraries that write through C say of a full disk only that writing failed."""
    try:
        return shutil.disk_usage(folder).free == 0
    except OSError:
        return False
