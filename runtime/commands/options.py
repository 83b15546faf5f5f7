"""Options that several of lorair-run's commands take."""

import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime.bundle import SHIPPED_BUNDLE, bundle_folder
from lorair.runtime.errors import LorairError, OptionError
from lorair.runtime.system import console
from lorair.runtime.system.limits import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.folders.guidance import Every
    from lorair.runtime.folders.left_out import LeftOut
    from lorair.runtime.folders.plan import Task
    from lorair.runtime.folders.run import Outcomes
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.routing.gates import Gates
    from lorair.runtime.routing.route import Route


def _backend_names() -> list[str]:
    from lorair.runtime.backends import AUTO, BACKENDS

    return [AUTO, *BACKENDS]


def input_path(text: str) -> Path:
    """Return a path; raise OptionError for an empty text, which an unset variable leaves."""
    if not text:
        raise OptionError("INPUT", wanted="a path", found="an empty text", hint="check the command")
    return Path(text)


def named_bundle(named: str | Path) -> Path:
    """Return the folder that `--bundle` names; a path is the option's own default."""
    if isinstance(named, Path) and not named.exists():
        return SHIPPED_BUNDLE
    return bundle_folder(named)


BundleOption = Annotated[
    Path,
    typer.Option(
        "--bundle",
        "-b",
        envvar="LORAIR_BUNDLE",
        metavar="FOLDER",
        parser=named_bundle,
        help="The folder of the bundle to use, or `default` for the one that lorair brings. "
        "Default: ./lorair-bundle if it is there, else `default`.",
        show_default=False,
    ),
]
BundleArgument = Annotated[
    Path,
    typer.Argument(
        metavar="[BUNDLE]",
        envvar="LORAIR_BUNDLE",
        parser=named_bundle,
        help="The folder of the bundle. Default: as for `infer`.",
        show_default=False,
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        help="The library that runs the network; `lorair-run doctor` lists them.",
        autocompletion=_backend_names,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(help="How many CPU threads all pictures in work share. Default: one a core."),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        help="How many pictures to work on at once. Default: one a CPU thread, at most 4."
    ),
]
MaxPixelsOption = Annotated[
    int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")
]

# Of the commands that restore pictures into files.
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="The format to write: png, jpg, webp, tiff, bmp or avif; `same` for each picture's "
        "own. Default: what the output's name ends in, or png.",
    ),
]
QualityOption = Annotated[
    int | None, typer.Option(help="The quality of jpg, webp and avif, from 1 to 100. [default: 95]")
]
CompareOption = Annotated[
    bool,
    typer.Option(
        "--compare", help="Also write before and after side by side, to STEM.compare.png."
    ),
]
RecursiveOption = Annotated[
    bool, typer.Option("--recursive", "-r", help="Also restore the pictures in subfolders.")
]
GlobOption = Annotated[
    str | None,
    typer.Option(
        "--glob", help="Take only the files of a folder that match, such as 'frame_*.png'."
    ),
]
SkipOption = Annotated[
    bool | None,
    typer.Option(
        "--skip-existing/--overwrite",
        help="Keep results that exist and are no older than their picture, or write them again. "
        "Default: keep them for folders, write them again for files.",
    ),
]
RouteOption = Annotated[
    Path | None,
    typer.Option(help="Use this route, which `lorair-run route` has saved, for every picture."),
]
RouteFromOption = Annotated[
    str | None,
    typer.Option(
        help="Ask the router about `each` picture (the default), only the `first`, or every Nth."
    ),
]
ExpertOption = Annotated[
    str | None,
    typer.Option(
        help="Use this expert alone instead of the router's choice; `none` for the shared "
        "network without any."
    ),
]
GatesOption = Annotated[
    str | None, typer.Option(help="Mix experts by these gates, such as rain=0.7,snow=0.3.")
]
StrengthOption = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="How much of the change to make: 0 leaves the picture as it was."
    ),
]
TileOption = Annotated[
    str,
    typer.Option(
        metavar="auto|N|off",
        help="Restore in tiles of N pixels a side: always (N), only if memory requires it "
        "(auto), or never (off).",
    ),
]
ReportOption = Annotated[
    Path | None, typer.Option(help="Write the routes and times to this JSON file.")
]

DEFAULT_BUNDLE = Path("lorair-bundle")
MAX_PIXELS = DEFAULT_MAX_PIXELS


def backend_note(restorer: "Restorer") -> str:
    """Say which backend restores, and why `auto` took it."""
    text = f"backend {restorer.backend.description}"
    if restorer.bundle.path == SHIPPED_BUNDLE:
        text += ", default model"
    if restorer.skipped is None:
        return text
    fastest = f"auto: the fastest here for an {restorer.bundle.manifest.precision} bundle"
    return f"{text} ({'; '.join((fastest, *restorer.skipped))})"


def note_names(tasks: "Iterable[Task[Any]]") -> None:
    """Say so if results are named in full because they would have one name."""
    from lorair.runtime.folders.plan import note_on_names

    if text := note_on_names(tasks):
        console.note(text)


def check_guidance(route: Path | None, route_from: str | None) -> "Every":
    """Return what `--route-from` says, checked before anything is opened. Raises OptionError."""
    from lorair.runtime.folders.guidance import parse_every

    if route is not None and route_from is not None:
        raise OptionError("--route-from", wanted="no --route beside it", found=str(route))
    return parse_every(route_from) if route_from is not None else "each"


def guidance_of(
    bundle: "Bundle", route: Path | None, expert: str | None, gates: str | None
) -> "tuple[Route | None, Gates | None]":
    """The route and the gates that were asked for.

    Raises:
        RouteError: the route cannot be read, or is another router's.
        OptionError: the bundle has no such class, or the gates are none.
    """
    from lorair.runtime.routing.file import load
    from lorair.runtime.routing.gates import chosen_gates

    given = load(route, bundle) if route is not None else None
    return given, chosen_gates(expert, gates, bundle.manifest.model.classes)


class Interruptible:
    """A block that Ctrl-C and SIGTERM end early; `code` is the exit code then, and 0 if not."""

    code = 0

    def __enter__(self) -> "Interruptible":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, KeyboardInterrupt):
            self.code = 128 + signal.SIGINT
        elif isinstance(error, SystemExit):  # SIGTERM
            self.code = int(error.code or 0)
        return self.code != 0


def conclude(
    run: "Outcomes[Any]",
    about: Mapping[str, Any],
    start: float,
    report: Path | None,
    left_out: "Sequence[LeftOut[Any]]" = (),
    *,
    as_json: bool,
    code: int,
    alone: bool = False,
) -> None:
    """Report what became of the pictures, and leave with an exit code if it is not 0.

    The code is that of an interruption, else 1 if some pictures failed, and the first error's own
    if all did. `about`, the time since `start` (of `perf_counter`) and what was left out go into
    the report. With `alone`, the run had one picture: nothing is counted, and its error is raised.
    """
    document = {
        "lorair": console.lorair_version(),
        **about,
        "seconds": time.perf_counter() - start,
        "counts": run.counts,
        "pictures": [outcome.to_dict() for outcome in run.outcomes],
        "left_out": [one.to_dict() for one in left_out],
    }
    if report is not None:
        console.write_json(report, document)
    if as_json:
        console.print_json(document)
    if not alone:
        _summarise(run, left_out, time.perf_counter() - start)
    elif run.errors:
        raise run.errors[0]
    if code := code or exit_code(run.errors, len(run.outcomes)):
        raise typer.Exit(code)


def _summarise(run: "Outcomes[Any]", left_out: "Sequence[LeftOut[Any]]", seconds: float) -> None:
    from lorair.runtime.folders.left_out import summary

    done, skipped = run.counts["restored"], run.counts["skipped"]
    parts = (f"{n} {status}" for status, n in run.counts.items() if n or status == "restored")
    console.note(f"{', '.join(parts)}; {seconds:.1f} s, {done / seconds:.2f} a second")
    if skipped:
        console.note("skipped ones have a result already; --overwrite does them again")
    if left_out:
        console.note(summary(left_out))
    print_errors(run.errors)


def print_errors(errors: Iterable[LorairError]) -> None:
    """Print each error's line on stderr."""
    for error in errors:
        console.stderr().print(f"error: {error.line()}", soft_wrap=True)


def exit_code(errors: Sequence[LorairError], pictures: int) -> int:
    """Return 0 if no picture failed, 1 if some did, and the first error's own code if all did."""
    if not errors:
        return 0
    return errors[0].exit_code if len(errors) == pictures else 1
