"""Files and folders that appear whole or not at all: written beside their place, then renamed.

A folder that is being filled is locked by the process that fills it. The system drops the lock
with the process, however that ends, so a folder without one was abandoned: the next run that
writes beside it removes it.
"""

import errno
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lorair.runtime.errors import DiskFullError, OutputError

if sys.platform != "win32":
    import fcntl

_RETRIES = 100
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_PARTIAL: Final = "partial"
_OLD: Final = "old"
_SIBLING: Final = re.compile(rf"\.(?P<stem>.+)\.[0-9a-f]{{12}}\.{_PARTIAL}(?P<suffix>\.[^.]*)?")


def check_writable(path: Path) -> None:
    """Raise OutputError if nothing can be created at `path`; creates nothing itself."""
    path = path.resolve()
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    wanted, found = None, ""
    if not parent.is_dir():
        wanted, found = "a folder", f"{parent}, a file"
    elif not os.access(parent, os.W_OK | os.X_OK):
        wanted, found = f"a writable folder {parent}", "no permission"
    if wanted is not None:
        hint = "choose another place with -o"
        raise OutputError(f"cannot write {path}", wanted=wanted, found=found, hint=hint)


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
    partial = path.with_name(f".{path.stem}.{_unique()}.{_PARTIAL}{path.suffix}")
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
    What killed writers left in the same parent folder is removed.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, ".", f".{_PARTIAL}")
        _remove_old(path)
        with _owned(path.parent, f".{path.name}.", f".{_PARTIAL}", mode=0o777) as partial:
            yield partial
            _swap(partial, path)
    except OSError as error:
        raise _output_error(path, error) from error


@contextmanager
def owned_folder(prefix: str) -> Iterator[Path]:
    """Make a private folder among the system's temporary ones and remove it afterwards.

    If this process is killed, the next one that asks for the same prefix removes it. That
    looks through the whole temporary folder, so a server asks once, not for each request.
    """
    parent = Path(tempfile.gettempdir())
    remove_abandoned(parent, prefix)
    with _owned(parent, prefix, "", mode=0o700) as folder:
        yield folder


def remove_abandoned(parent: Path, prefix: str, ending: str = "") -> None:
    """Remove the folders of such names that no living process owns; never an error.

    Where a file system has no locks (NFS has none for folders), nothing is removed.
    """
    name = re.compile(rf"{re.escape(prefix)}.*[0-9a-f]{{12}}{re.escape(ending)}", re.DOTALL)
    with suppress(OSError):
        for folder in [entry for entry in parent.iterdir() if name.fullmatch(entry.name)]:
            with suppress(OSError):
                lock = _lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


@contextmanager
def _owned(parent: Path, prefix: str, ending: str, mode: int) -> Iterator[Path]:
    """A new folder, locked while the block runs, removed at its end if it is still there."""
    while True:
        folder = parent / f"{prefix}{_unique()}{ending}"
        folder.mkdir(mode)
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):  # taken for abandoned before the lock
            continue
        except OSError:
            lock = None
        break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int:
    """Lock the folder until the descriptor that is returned is closed, or this process ends.

    Raises OSError: another process has the lock, the folder is gone, or there are no locks here.
    """
    if sys.platform == "win32":
        raise OSError("folders cannot be locked")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()  # whoever had the lock before may have removed it
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_old(path: Path) -> None:
    """Remove what a killed writer moved aside; put it back where nothing took its place."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}\.{_OLD}")
    for old in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
        with suppress(OSError):
            if path.exists() or not _rename_to_free_place(old, path):
                shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Rename `new` to `path`, whatever other writers do to it meanwhile."""
    for _ in range(_RETRIES):
        if _rename_to_free_place(new, path):
            return
        old = path.with_name(f".{path.name}.{_unique()}.{_OLD}")
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


def _unique() -> str:
    """Part of a name that no other process, thread or container uses."""
    return uuid.uuid4().hex[:12]


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
    kind = DiskFullError if error.errno in _FULL or is_full(path.parent) else OutputError
    return kind(
        f"cannot write {path}",
        found=error.strerror or str(error),
        hint="choose another place with -o, or free some space",
    )


def is_full(folder: Path) -> bool:
    """Whether no space is left; libraries that write through C say only that writing failed."""
    try:
        return shutil.disk_usage(folder).free == 0
    except OSError:
        return False
