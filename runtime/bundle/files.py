"""The files of a bundle: regular ones that its manifest lists, whole, and no others.

Everything that a graph can load has to be listed: graphs name their files of weights, and
OpenVINO follows any path that it is given.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorair.runtime.errors import BundleError

MANIFEST: Final = "manifest.json"
CARD: Final = "README.md"
"""The model card, which people may change: it need not be listed, and nothing loads it."""

ENGINES: Final = "engines"
"""The folder of engines, which are added later; `engines` checks them by their own records."""

PLUGINS: Final = "plugins"
"""The folder of libraries that engines load, which are added later with records of their own."""

HASHED_ON_OPEN: Final = 64 * 2**20
"""Files below this many bytes are hashed at every open (0.1 s a GB); sizes always checked."""

_SMALL: Final = 2**20
"""Bytes of JSON that are read at most: a full-size manifest has 10 kB."""

_LOCATION: Final = re.compile(rb"\x0a\x08location\x12(.)(?=(.{0,255}))", re.DOTALL)
"""Of external data in an ONNX graph, an entry of a map: the key, the value's length, the value."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class Stored(BaseModel):
    """What is stored as JSON, or a part of it: readers ignore keys they do not know.

    So a minor addition breaks nobody.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class FileInfo(Stored):
    """A file's content: sha256 in hexadecimal, size in bytes."""

    sha256: Sha256
    size: Size


def check_name(name: str) -> None:
    """Raise ValueError unless a file of this name can be listed: in the folder and not hidden."""
    path = PurePosixPath(name)
    is_plain = name == path.as_posix() and not path.is_absolute() and "\\" not in name
    if not is_plain or not name.isprintable() or any(p.startswith(".") for p in path.parts):
        raise ValueError(f"{name!r} is not a path inside the bundle")
    if path.parts[:1] in ((), (MANIFEST,), (ENGINES,), (PLUGINS,)):
        raise ValueError(f"{name!r} is not a file to be listed")


def list_files(folder: Path) -> dict[str, FileInfo]:
    """Size and hash of every file in the folder that is to be listed, by relative path."""
    files = (p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file())
    return {
        name: FileInfo(sha256=sha256(folder / name), size=(folder / name).stat().st_size)
        for name in files
        if name not in (MANIFEST, CARD)
        and not any(part.startswith(".") for part in name.split("/"))
    }


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, listed: Mapping[str, FileInfo], limit: int | None) -> None:
    """Check that the listed files are there, as they were built, and the only ones.

    Files of `limit` bytes or more are not hashed; with None all are.

    Raises BundleError: naming the first file that is wrong.
    """
    _check_entries(folder, listed)
    for name, info in listed.items():
        file = folder / name
        size = regular_size(file)
        if size is None:
            raise damaged(folder, f"a file {name}", "none")
        if size != info.size:
            raise damaged(folder, f"{name} of {info.size} bytes", f"{size} bytes")
        if (limit is None or size < limit) and sha256(file) != info.sha256:
            raise damaged(folder, f"{name} as it was built", "other content")
        if name.endswith(".onnx"):
            if size >= HASHED_ON_OPEN:
                raise damaged(folder, f"{name} below {HASHED_ON_OPEN} bytes", f"{size} bytes")
            _check_weights(folder, name, listed)


def regular_size(path: Path) -> int | None:
    """The bytes of a regular file; None if there is none, or something else, or a link to one."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError, ValueError or RecursionError if it is none."""
    if path.exists() and regular_size(path) is None:
        raise ValueError(f"{path.name} is a link or no regular file")
    with path.open("rb") as file:
        content = file.read(_SMALL + 1)
    if len(content) > _SMALL:
        raise ValueError(f"{path.name} has more than {_SMALL} bytes")
    return json.loads(content)


def check_no_link(folder: Path, name: str) -> None:
    """Raise BundleError if a file or folder is a symbolic link."""
    if (folder / name).is_symlink():
        raise BundleError(
            f"cannot use the bundle {folder}",
            wanted="files, not links to them",
            found=f"{name}, a link",
            hint="copy it with `cp -rL`, or download it with `hf download --local-dir`",
        )


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Where content differs from its schema first, and how."""
    first = error.errors(include_url=False)[0]
    return ".".join(str(part) for part in first["loc"]) or "the top level", first["msg"]


def damaged(folder: Path, wanted: str, found: str) -> BundleError:
    """A bundle that has to be built again."""
    return BundleError(
        f"damaged bundle {folder}",
        wanted=wanted,
        found=found,
        hint="build it again with `lorair-export build`",
    )


def _check_entries(folder: Path, listed: Mapping[str, FileInfo]) -> None:
    """Nothing is there that is not listed; hidden files, engines, plugins no graph may load."""
    parents = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    for parent in sorted(parents | {"."}):
        try:
            entries = sorted((folder / parent).iterdir())
        except OSError:
            raise damaged(folder, f"a folder {parent}", "none") from None
        for entry in entries:
            name = entry.relative_to(folder).as_posix()
            if entry.name.startswith("."):
                continue
            check_no_link(folder, name)
            if (
                name not in listed
                and name not in parents
                and name not in (MANIFEST, CARD, ENGINES, PLUGINS)
            ):
                raise damaged(folder, "only files that the manifest lists", name)


def _check_weights(folder: Path, name: str, listed: Mapping[str, FileInfo]) -> None:
    """All weights that a graph loads come from listed files beside it."""
    graph, found = (folder / name).read_bytes(), 0
    for found, entry in enumerate(_LOCATION.finditer(graph), 1):  # noqa: B007  (counted)
        place = entry[2][: entry[1][0]].decode(errors="replace")
        if str(PurePosixPath(name).parent / place) not in listed:
            raise damaged(folder, f"the weights of {name} in listed files", place)
    if graph.count(b"location") != found:
        raise damaged(folder, f"the weights of {name} in listed files", "some that cannot be told")
