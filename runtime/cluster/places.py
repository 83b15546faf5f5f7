"""Pictures on this machine, or on whatever PyArrow and fsspec reach by a URI.

A remote picture is fetched to a temporary file and its result put from one, so that the same
code reads and writes both. What is put appears whole: an object store's put is atomic, other
file systems get a temporary name and a rename.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import uuid4

from lorair.runtime.errors import (
    DependencyError,
    LorairError,
    OptionError,
    OutputError,
    PictureError,
)
from lorair.runtime.folders import plan as folders
from lorair.runtime.folders.left_out import LeftOut, not_pictures
from lorair.runtime.folders.run import is_current as files_are_current
from lorair.runtime.images import Encoding
from lorair.runtime.system.atomic import owned_folder

_STORES: Final = frozenset({"s3", "gcs", "abfs"})
"""File systems of PyArrow whose put is atomic, and whose rename would be a copy."""


def is_uri(name: str) -> bool:
    """Whether it is a URI, such as s3://bucket/key, and no path."""
    return "://" in name


@contextmanager
def source_file(name: str) -> Iterator[Path]:
    """The picture as a file. Raises PictureError: it cannot be fetched."""
    if not is_uri(name):
        yield Path(name)
        return
    with owned_folder("lorair-picture-") as folder:
        path = folder / _file_name(name)
        system, inner = file_system(name)
        try:
            with system.open_input_stream(inner) as stream:
                path.write_bytes(stream.read())
        except OSError as error:
            raise PictureError(f"cannot read {name}", found=str(error)) from error
        with _called(path, name):
            yield path


@contextmanager
def target_file(name: str | None) -> Iterator[Path | None]:
    """Where to write the result; it is put into its place if the block ends well.

    Raises OutputError: it cannot be put.
    """
    if name is None or not is_uri(name):
        yield None if name is None else Path(name)
        return
    with owned_folder("lorair-picture-") as folder:
        path = folder / _file_name(name)
        with _called(path, name):
            yield path
        try:
            _put(path.read_bytes(), name)
        except OSError as error:
            raise OutputError(
                f"cannot write {name}", found=str(error), hint="choose another place with -o"
            ) from error


@contextmanager
def _called(path: Path, name: str) -> Iterator[None]:
    """Errors from within name the picture, not our temporary file."""
    try:
        yield
    except LorairError as error:
        error.what = error.what.replace(str(path), name)
        raise


def _put(content: bytes, name: str) -> None:
    system, inner = file_system(name)
    if system.type_name in _STORES:
        with system.open_output_stream(inner) as stream:
            stream.write(content)
        return
    place = PurePosixPath(inner)
    system.create_dir(str(place.parent), recursive=True)
    partial = str(place.with_name(f".{place.stem}.{uuid4().hex[:12]}.partial{place.suffix}"))
    with system.open_output_stream(partial) as stream:
        stream.write(content)
    system.move(partial, inner)


def file_system(uri: str) -> tuple[Any, str]:
    """PyArrow's file system for a URI, or fsspec's, and the path in it.

    Raises:
        OptionError: nobody knows the URI's scheme.
        DependencyError: the package for its scheme is not installed.
    """
    import fsspec
    from pyarrow import fs

    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(uri)
        return found
    except (ValueError, NotImplementedError):  # not one of PyArrow's own
        pass
    parts = urlsplit(uri)
    try:
        plain = f"{parts.scheme}://{parts.netloc}{unquote(parts.path)}"
        system, inner = fsspec.core.url_to_fs(plain)
    except ValueError as error:
        wanted = "a URI that PyArrow or fsspec knows"
        raise OptionError(uri, wanted=wanted, found=str(error)) from error
    except ImportError as error:
        raise DependencyError(f"cannot open {uri}", found=str(error), hint="install it") from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), inner


def is_current(task: folders.Task[str]) -> bool:
    """Whether the result is there, and no older than its picture, here or there."""
    if not is_uri(task.source):
        source, *written = map(Path, (task.source, *task.written))
        return files_are_current(folders.Task(source, *written))
    places = map(file_system, (task.source, *task.written))
    source, *found = (system.get_file_info(inner) for system, inner in places)
    return all(info.is_file and info.size and info.mtime_ns >= source.mtime_ns for info in found)


@dataclass(frozen=True)
class RemotePlan:
    """The tasks of a run, in order.

    left_out: what of its folders is no task. is_folder: whether a folder was among the inputs.
    is_remote: whether names are URIs.
    """

    tasks: list[folders.Task[str]]
    left_out: list[LeftOut[str]]
    is_folder: bool
    is_remote: bool


def plan(
    inputs: Sequence[str],
    output: str,
    *,
    recursive: bool = False,
    pattern: str | None = None,
    encoding: Encoding,
    compare: bool = False,
) -> RemotePlan:
    """Decide where each restored picture goes, by the rules of `folders.plan`, which it raises as.

    `inputs` are pictures and folders, as paths or URIs; if one of them or the output is a URI,
    all become URIs. The rest is as for `folders.plan`.
    """
    if not any(map(is_uri, (*inputs, output))):
        paths = [Path(name) for name in inputs]
        local = folders.plan(
            paths, Path(output), recursive=recursive, pattern=pattern, encoding=encoding,
            compare=compare,
        )  # fmt: skip
        named = [folders.Task(*map(str, (task.source, *task.written))) for task in local.tasks]
        left_out = [LeftOut(str(one.place), one.reason) for one in local.left_out]
        return RemotePlan(named, left_out, folders.has_folder(paths), is_remote=False)
    others: list[LeftOut[str]] = []
    listings = [_list(_uri(name), recursive, pattern, others) for name in inputs]

    def tasks(*, in_full: bool) -> list[folders.Task[str]]:
        return [
            _task(source, _join(_uri(output), str(place)), encoding, compare, in_full=in_full)
            for sources, _ in listings
            for source, place in sources
        ]

    planned = folders.told_apart(tasks(in_full=False), tasks(in_full=True), str)
    folders.check_distinct(planned, str)
    return RemotePlan(planned, others, any(is_folder for _, is_folder in listings), is_remote=True)


def _uri(name: str) -> str:
    """With a path that is quoted."""
    if not is_uri(name):
        return Path(name).resolve().as_uri()
    parts = urlsplit(name)
    return urlunsplit(parts._replace(path=quote(parts.path, safe="/%")))


def _join(uri: str, path: str) -> str:
    """The URI of a file in a folder; options behind a question mark stay."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}"))


def _file_name(uri: str) -> str:
    return unquote(PurePosixPath(urlsplit(uri).path).name)


def _list(
    name: str, recursive: bool, pattern: str | None, left_out: list[LeftOut[str]]
) -> tuple[list[tuple[str, PurePosixPath]], bool]:
    """The pictures behind a URI with their paths in its folder, and whether it is one."""
    from pyarrow import fs

    system, inner = file_system(name)
    try:
        if system.get_file_info(inner).type == fs.FileType.File:
            return [(name, PurePosixPath(_file_name(name)))], False
        listed = system.get_file_info(fs.FileSelector(inner, recursive=recursive))
    except OSError as error:
        raise PictureError(f"cannot list {name}", found=str(error)) from error
    files = (PurePosixPath(info.path).relative_to(inner) for info in listed if info.is_file)
    seen = [file for file in sorted(files) if not any(p.startswith(".") for p in file.parts)]
    found = [file for file in seen if folders.is_wanted(file, pattern)]
    if pattern is None:
        inputs = (file for file in seen if folders.is_input(file.name))
        left_out += not_pictures(inputs, lambda file: _join(name, str(file)))
    if not found:
        raise folders.nothing_in(name, pattern, left_out)
    return [(_join(name, str(file)), file) for file in found], True


def _task(
    source: str, place: str, encoding: Encoding, compare: bool, *, in_full: bool
) -> folders.Task[str]:
    """`place` is where the picture itself would be in the output."""
    parts = urlsplit(place)
    path = PurePosixPath(parts.path)
    endings = [f"{folders.RESTORED}{encoding.like(path).ending}"]
    endings += [f"{folders.COMPARED}.png"] * compare
    paths = (path.with_name(f"{path.name if in_full else path.stem}{end}") for end in endings)
    return folders.Task(source, *(urlunsplit(parts._replace(path=str(p))) for p in paths))
