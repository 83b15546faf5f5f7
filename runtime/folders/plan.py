"""Which pictures a command works on, and where each result goes. Decided before any work."""

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, Generic, TypeVar

from lorair.runtime.errors import OptionError, OutputError, PictureError
from lorair.runtime.folders.left_out import FOLDER, LeftOut, not_pictures, summary
from lorair.runtime.images import WRITABLE, Encoding, check_format, check_name, why_not
from lorair.runtime.system.atomic import check_writable_file

Place = TypeVar("Place", Path, str)

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


@dataclass(frozen=True)
class FolderPlan:
    """The tasks of a run, in order, and what of its folders is no task."""

    tasks: list[Task[Path]]
    left_out: list[LeftOut[Path]]


def plan(
    inputs: list[Path],
    output: Path | None,
    *,
    recursive: bool = False,
    pattern: str | None = None,
    encoding: Encoding | None = None,
    compare: bool = False,
) -> FolderPlan:
    """Decide where each restored picture goes.

    Args:
        inputs: pictures and folders of pictures.
        output: a file, or a folder; None for beside each input.
        recursive: whether folders in folders are entered; their tree is mirrored.
        pattern: of the files taken from folders (`frame_*.png`, `left/*.png`); None for
            every ending that is read.
        encoding: of the results; None for PNG, or what the output's ending says.
        compare: whether before and after are written too, beside each result.

    Returns:
        tasks in the order of the inputs, each folder's sorted by path.

    Raises:
        PictureError: a folder has no pictures, or cannot be listed; or of all that was named,
            nothing is there.
        OptionError: several pictures, and the output is a file; or the encoding does not fit.
        OutputError: unwritable, over an input, or two pictures to one file.
    """
    left_out: list[LeftOut[Path]] = []
    found = list(expand(inputs, output, left_out, recursive=recursive, pattern=pattern))
    several = len(found) > 1 or has_folder(inputs)
    _check_names([source for source, _ in found])
    encoding = encoding or Encoding()

    def task(source: Path, folder: Path, name: str) -> Task[Path]:
        name = f"{name}{RESTORED}{encoding.like(source).ending}"
        target = _target(source, folder, output, name, several=several)
        beside = target.with_name(f"{target.stem.removesuffix(RESTORED)}{COMPARED}.png")
        return Task(source, target, beside if compare else None)

    tasks = told_apart(
        [task(source, folder, source.stem) for source, folder in found],
        [task(source, folder, source.name) for source, folder in found],
        Path.resolve,
    )
    for one in tasks:
        check_format(one.target, encoding.like(one.source))
        for file in one.written:
            check_writable_file(file)
    check_distinct(tasks, Path.resolve)
    return FolderPlan(tasks, left_out)


def has_folder(inputs: list[Path]) -> bool:
    """Whether any input is a folder."""
    return any(source.is_dir() for source in inputs)


def expand(
    inputs: list[Path],
    output: Path | None,
    left_out: list[LeftOut[Path]],
    *,
    recursive: bool,
    pattern: str | None,
) -> Iterator[tuple[Path, Path]]:
    """Yield each picture, and the folder in the output that mirrors its own."""
    for source in inputs:
        if not source.is_dir():
            yield source, Path()
            continue
        files, folders = _listed(source, output, recursive=recursive)
        wanted = [file for file in files if is_wanted(file, pattern)]
        others = [LeftOut(source / folder, FOLDER) for folder in folders]
        if pattern is None:
            others += not_pictures(files, source.joinpath)
        if not wanted:
            raise nothing_in(source, pattern, others)
        left_out += others
        yield from ((source / file, file.parent) for file in wanted)


def _check_names(sources: Sequence[Path]) -> None:
    """Raise the first picture's error if all have one that their names tell."""
    errors = []
    for source in sources:
        try:
            return check_name(source)
        except PictureError as error:
            errors.append(error)
    raise errors[0]


def nothing_in(
    folder: object, pattern: str | None, left_out: Sequence[LeftOut[Any]]
) -> PictureError:
    """Return the error of a folder without pictures to restore."""
    return PictureError(
        f"nothing to restore in {folder}",
        wanted=pattern or "pictures",
        found=f"none; {summary(left_out)}" if left_out else "none",
        hint="check the path and --glob",
    )


def _listed(root: Path, output: Path | None, *, recursive: bool) -> tuple[list[Path], list[Path]]:
    """The files in a folder, and the folders in it that are not entered; relative, sorted.

    Hidden ones, earlier results and what is in the output are in neither.
    """
    outputs = output.resolve() if output is not None else None
    found: list[Path] = []
    for place, folders, files in os.walk(root, onerror=_raise_unlisted):
        here = Path(place).relative_to(root)
        found += (here / name for name in files if is_input(name))
        inside = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in inside if (root / here / name).resolve() != outputs]
        if not recursive:
            # A folder named like a picture is a mistake to report.
            found += (Path(name) for name in folders if why_not(Path(name)) is None)
            return sorted(found), sorted({*map(Path, folders)} - {*found})
    return sorted(found), []


def is_input(name: str) -> bool:
    """Whether a file is neither hidden nor an earlier result."""
    return not name.startswith(".") and not PurePath(name).stem.endswith((RESTORED, COMPARED))


def is_wanted(path: PurePath, pattern: str | None) -> bool:
    """Whether a file of a folder, by its path in it, is a picture to restore."""
    if not is_input(path.name):
        return False
    if pattern is not None:
        return PurePosixPath(path.as_posix()).match(pattern)
    return why_not(path) is None


def _raise_unlisted(error: OSError) -> None:
    raise PictureError(
        f"cannot list {error.filename}",
        found=error.strerror or str(error),
        hint="leave it out, or make it readable",
    ) from error


def _target(source: Path, folder: Path, output: Path | None, name: str, *, several: bool) -> Path:
    if output is None:
        return source.with_name(name)
    # A name without an ending can only be meant as a folder.
    if not several and not output.is_dir() and output.suffix:
        return output
    is_name = output.suffix.lower() in WRITABLE and not output.is_dir()
    if output.is_file() or is_name:
        raise OptionError(
            "--output",
            wanted="a folder",
            found=f"the file {output}" if output.is_file() else f"a picture's name, {output}",
            hint="several pictures need a folder",
        )
    return output / folder / name


def told_apart(
    tasks: Sequence[Task[Place]],
    in_full: Sequence[Task[Place]],
    identity: Callable[[Place], Hashable],
) -> list[Task[Place]]:
    """Return the tasks; of those that would write to one place, the ones that are named in full.

    `a.jpg` and `a.png` become `a.jpg.restored.png` and `a.png.restored.png`.
    """
    taken = Counter(identity(place) for task in tasks for place in task.written)
    return [
        full if any(taken[identity(place)] > 1 for place in task.written) else task
        for task, full in zip(tasks, in_full, strict=True)
    ]


def note_on_names(tasks: Iterable[Task[Any]]) -> str | None:
    """Return what to tell the user of tasks that are named in full; None if there are none."""
    named = [(PurePath(str(t.source)).name, PurePath(str(t.target)).name) for t in tasks]
    full = [name for source, name in named if name.startswith(f"{source}{RESTORED}")]
    if not full:
        return None
    return f"{len(full)} pictures differ by their endings only, which their results keep: {full[0]}"


def check_distinct(tasks: Sequence[Task[Place]], identity: Callable[[Place], Hashable]) -> None:
    """Raise OutputError if a place to write to is an input or another picture's.

    `identity` gives what two names of the same place have in common.
    """
    taken = {identity(task.source): task.source for task in tasks}
    for task in tasks:
        for place in task.written:
            key = identity(place)
            if key in taken:
                other = taken[key]
                its = "an input" if identity(other) == key else f"the output of {other}"
                is_twice = key != identity(other) == identity(task.source)
                raise OutputError(
                    f"cannot restore {task.source}",
                    wanted="an output of its own, and never an input",
                    found=f"{other} named twice" if is_twice else f"{place}, which is {its}",
                    hint="choose another with -o, or leave one of them out",
                )
            taken[key] = task.source
