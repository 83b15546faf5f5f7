"""Which pictures a command works on, and where each result goes. Decided before any work."""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Final, Generic, TypeVar

from lorair.runtime.errors import OptionError, OutputError, PictureError
from lorair.runtime.images import WRITABLE, Encoding, check_format
from lorair.runtime.system.atomic import check_writable_file

Place = TypeVar("Place", Path, str)

ENDINGS: Final = frozenset(WRITABLE) | {".gif", ".ppm", ".pgm", ".pbm", ".pnm"}
"""Of the files that are taken from a folder; a file that is named may have any."""

RESTORED: Final = ".restored"
COMPARED: Final = ".compare"
"""What a result's name has before its ending."""


@dataclass(frozen=True)
class Task(Generic[Place]):
    """One picture and the place for its result, and for before and after if they are wanted.

    Places are paths; in a run on Ray they are texts, each a path or a URI.
    """

    source: Place
    target: Place
    comparison: Place | None = None

    @property
    def written(self) -> list[Place]:
        """The places that it writes to."""
        return [self.target] if self.comparison is None else [self.target, self.comparison]


def plan(
    inputs: list[Path],
    output: Path | None,
    *,
    recursive: bool = False,
    pattern: str | None = None,
    encoding: Encoding | None = None,
    compare: bool = False,
) -> list[Task[Path]]:
    """Decide where each restored picture goes.

    Args:
        inputs: pictures and folders of pictures.
        output: a file, or a folder; None for beside each input.
        recursive: whether folders in folders are entered; their tree is mirrored.
        pattern: of the files taken from folders (`frame_*.png`, `left/*.png`); None for
            every ending in `ENDINGS`.
        encoding: of the results; None for PNG, or what the output's ending says.
        compare: whether before and after are written too, beside each result.

    Returns:
        tasks in the order of the inputs, each folder's sorted by path.

    Raises:
        PictureError: a folder has no pictures, or cannot be listed.
        OptionError: several pictures, and the output is a file; or the encoding does not fit.
        OutputError: unwritable, over an input, or two pictures to one file.
    """
    found = list(_expand(inputs, output, recursive=recursive, pattern=pattern))
    several = len(found) > 1 or has_folder(inputs)
    encoding = encoding or Encoding()
    tasks = []
    for source, folder in found:
        target = _target(source, folder, output, encoding.ending, several=several)
        beside = target.with_name(f"{target.stem.removesuffix(RESTORED)}{COMPARED}.png")
        tasks.append(Task(source, target, beside if compare else None))
    for task in tasks:
        check_format(task.target, encoding)
        for file in task.written:
            check_writable_file(file)
    check_distinct(tasks, Path.resolve)
    return tasks


def has_folder(inputs: list[Path]) -> bool:
    """Whether any input is a folder."""
    return any(source.is_dir() for source in inputs)


def _expand(
    inputs: list[Path], output: Path | None, *, recursive: bool, pattern: str | None
) -> Iterator[tuple[Path, Path]]:
    """Yield each picture, and the folder in the output that mirrors its own."""
    for source in inputs:
        if not source.is_dir():
            yield source, Path()
            continue
        files = sorted(_pictures(source, output, recursive=recursive, pattern=pattern))
        if not files:
            raise nothing_in(source, pattern, recursive=recursive)
        yield from ((source / file, file.parent) for file in files)


def nothing_in(folder: object, pattern: str | None, *, recursive: bool) -> PictureError:
    """Return the error of a folder without pictures to restore."""
    return PictureError(
        f"nothing to restore in {folder}",
        wanted=pattern or "pictures",
        found="none" if recursive else "none, folders in it left out",
        hint="check the path and --glob" + ("" if recursive else ", or add --recursive"),
    )


def _pictures(
    root: Path, output: Path | None, *, recursive: bool, pattern: str | None
) -> Iterator[Path]:
    """Relative paths; hidden ones, earlier results and what is in the output are left out."""
    outputs = output.resolve() if output is not None else None
    for place, folders, files in os.walk(root, onerror=_raise_unlisted):
        here = Path(place).relative_to(root)
        inside = [name for name in folders if not name.startswith(".")]
        inside = [name for name in inside if (root / here / name).resolve() != outputs]
        # A folder named like a picture is a mistake to report, unless folders are entered.
        names = files if recursive else files + inside
        folders[:] = inside if recursive else []
        yield from (here / name for name in names if is_wanted(here / name, pattern))


def is_wanted(path: PurePath, pattern: str | None) -> bool:
    """Whether a file of a folder, by its path in it, is a picture to restore."""
    if path.name.startswith(".") or path.stem.endswith((RESTORED, COMPARED)):
        return False
    if pattern is not None:
        return PurePosixPath(path.as_posix()).match(pattern)
    return path.suffix.lower() in ENDINGS


def _raise_unlisted(error: OSError) -> None:
    raise PictureError(
        f"cannot list {error.filename}",
        found=error.strerror or str(error),
        hint="leave it out, or make it readable",
    ) from error


def _target(source: Path, folder: Path, output: Path | None, ending: str, *, several: bool) -> Path:
    name = f"{source.stem}{RESTORED}{ending}"
    if output is None:
        return source.with_name(name)
    # A name without an ending can only be meant as a folder.
    if not several and not output.is_dir() and output.suffix:
        return output
    if output.is_file():
        raise OptionError(
            "--output",
            wanted="a folder",
            found=f"the file {output}",
            hint="several pictures need a folder",
        )
    return output / folder / name


def check_distinct(tasks: Sequence[Task[Place]], identity: Callable[[Place], Hashable]) -> None:
    """Raise OutputError if a place to write to is an input or another picture's.

    `identity` gives what two names of the same place have in common.
    """
    taken = {identity(task.source): task.source for task in tasks}
    for task in tasks:
        for place in task.written:
            key = identity(place)
            if key in taken:
                raise OutputError(
                    f"cannot restore {task.source}",
                    wanted="an output that is no input and no other picture's output",
                    found=f"{place}, which is {taken[key]}'s",
                    hint="choose another with -o, or leave one or earlier results out of the "
                    "inputs",
                )
            taken[key] = task.source
