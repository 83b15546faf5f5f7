"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorair.runtime.errors import OutputError


def check_writable(path: Path) -> None:
    """Raise OutputError if nothing can be created at `path`; creates nothing itself."""
    parent = path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}", wanted="a folder", found=f"{parent}, a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write {path}",
            wanted=f"a writable folder {parent}",
            found="no permission",
            hint="choose another place with -o",
        )


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` that replaces it when the block ends well.

    Missing parent folders are made. On any error the sibling is removed and an existing
    `path` is untouched.
    """
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling folder that takes `path`'s place when the block ends well.

    An existing folder at `path` is moved aside first and removed last; if the rename
    fails it is moved back.
    """
    partial = _partial(path)
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
    if not path.exists():
        new.rename(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _partial(path: Path) -> Path:
    """A sibling's name, unique to this process; the suffix stays, writers look at it."""
    return path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}",
        found=error.strerror or str(error),
        hint="choose another place with -o, or free some space",
    )
