"""`lorair-run infer`: restore pictures and folders of pictures."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lorair.runtime import console, options
from lorair.runtime.errors import OptionError

if TYPE_CHECKING:
    from lorair.runtime.batch import Batch
    from lorair.runtime.files import RestoredFile
    from lorair.runtime.guidance import Every, Gates, Guidance
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.route import Route
    from lorair.runtime.tasks import Task
    from lorair.runtime.tiled import Progress

_INTERRUPTED: Final = 130


def infer(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Pictures and folders.", parser=options.input_path),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File, or a folder. Default: STEM.restored.png beside each input.",
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="png, jpg, webp, tiff, bmp or avif. Default: by the output's ending, or png.",
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help="1 to 100, of jpg, webp and avif. [default: 95]")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write before and after too: STEM.compare.png.")
    ] = False,
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Pictures in work at once. Default: one a CPU thread, at most 4."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Enter folders in folders.")
    ] = False,
    pattern: Annotated[
        str | None, typer.Option("--glob", help="Which files of a folder, such as 'frame_*.png'.")
    ] = None,
    skip_existing: Annotated[
        bool | None,
        typer.Option(
            "--skip-existing/--overwrite",
            help="Leave results that are there already. Default: for folders, not for files.",
        ),
    ] = None,
    route: Annotated[
        Path | None, typer.Option(help="Restore under this route, saved by `lorair-run route`.")
    ] = None,
    route_from: Annotated[
        str | None,
        typer.Option(help="Route `each` picture (default), only the `first`, or every Nth."),
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help="This expert alone, instead of the router's gates.")
    ] = None,
    gates: Annotated[
        str | None, typer.Option(help="These gates, such as rain=0.7,snow=0.3.")
    ] = None,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|N|off",
            help="Restore in tiles of N pixels a side; auto: if memory asks for it.",
        ),
    ] = "auto",
    max_pixels: options.MaxPixelsOption = options.MAX_PIXELS,
    report: Annotated[
        Path | None, typer.Option(help="Write routes and times as JSON to this file.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore pictures: route each, repair it, write it beside the original.

    A folder that was begun before is gone on with. Never overwrites an input. Exit code 1
    if some of several pictures failed, 130 after Ctrl-C.
    """
    from lorair.runtime import tasks
    from lorair.runtime.batch import Batch
    from lorair.runtime.files import Handling
    from lorair.runtime.images import Encoding
    from lorair.runtime.tiling import parse_tile

    start = time.perf_counter()
    every = _check_guidance(route, route_from, expert, gates)
    is_folder = tasks.has_folder(inputs)
    handling = Handling(max_pixels, Encoding(format_, quality), parse_tile(tile))
    planned = tasks.plan(
        inputs, output, recursive=recursive, pattern=pattern,
        encoding=handling.encoding, compare=compare,
    )  # fmt: skip
    if report is not None:
        used = [path for task in planned for path in (task.source, *task.written)]
        console.check_report(report, [*used, *bundle.glob("*")])
    skip = is_folder if skip_existing is None else skip_existing
    batch = Batch(planned, skip_existing=skip, handling=handling)
    restorer = _open(bundle, backend, threads, jobs, len(planned))
    if not as_json:
        console.note(f"backend {restorer.backend.description}{restorer.reason}")
    given, own_gates = _guidance_of(restorer, route, expert, gates)
    guidance = _guide(restorer, planned, max_pixels, given, every, own_gates)
    code = _run(batch, restorer, guidance, in_full=not is_folder, quiet=as_json)
    document = _document(batch, restorer, start)
    if report is not None:
        console.write_json(report, document)
    if as_json:
        console.print_json(document)
    if len(planned) > 1 or is_folder or code:
        _conclude(batch, time.perf_counter() - start)
    elif batch.errors:
        raise batch.errors[0]
    if code := code or _exit_code(batch):
        raise typer.Exit(code)


def _check_guidance(
    route: Path | None, route_from: str | None, expert: str | None, gates: str | None
) -> "Every":
    from lorair.runtime.guidance import parse_every

    if route is not None and route_from is not None:
        raise OptionError("--route-from", wanted="no --route beside it", found=str(route))
    if expert is not None and gates is not None:
        raise OptionError("--expert", wanted="no --gates beside it", found=gates)
    return parse_every(route_from) if route_from is not None else "each"


def _open(
    bundle: Path, backend: str, threads: int | None, jobs: int | None, pictures: int
) -> "Restorer":
    from lorair.runtime.machine import default_jobs
    from lorair.runtime.restorer import Restorer

    if jobs is None:
        jobs = 1 if pictures == 1 else default_jobs(threads)
    return Restorer.open(bundle, backend, threads, jobs)


def _guidance_of(
    restorer: "Restorer", route: Path | None, expert: str | None, gates: str | None
) -> "tuple[Route | None, Gates | None]":
    """The route and the gates that were asked for."""
    from lorair.runtime.guidance import one_expert, parse_gates
    from lorair.runtime.route_file import load

    classes = restorer.bundle.manifest.model.classes
    given = load(route, restorer.bundle) if route is not None else None
    if expert is not None:
        return given, one_expert(expert, classes)
    return given, parse_gates(gates, classes) if gates is not None else None


def _guide(
    restorer: "Restorer",
    planned: "list[Task]",
    max_pixels: int,
    given: "Route | None",
    every: "Every",
    gates: "Gates | None",
) -> "Guidance":
    from lorair.runtime.files import read
    from lorair.runtime.guidance import Guidance

    sources = [task.source for task in planned]
    return Guidance(
        restorer, sources, lambda source: read(source, max_pixels).pixels, given, every, gates
    )


def _run(
    batch: "Batch",
    restorer: "Restorer",
    guidance: "Guidance",
    *,
    in_full: bool,
    quiet: bool,
) -> int:
    """Do it all; an exit code if it was interrupted, else 0."""
    try:
        with (
            _shown(batch) as (advance, progress),
            closing(batch.run(restorer, guidance, restorer.jobs, progress)) as outcomes,
        ):
            for outcome in outcomes:
                advance()
                if outcome.result is not None and not quiet:
                    _print_result(outcome.result, in_full=in_full)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as stop:  # SIGTERM
        return int(stop.code or 0)
    return 0


@contextmanager
def _shown(batch: "Batch") -> "Iterator[tuple[Callable[[], object], Progress | None]]":
    """How far it is: within the one picture, or in pictures."""
    if len(batch.pending) == 1:
        with console.bar("restoring " + batch.outcomes[batch.pending[0]].task.source.name) as bar:
            yield lambda: None, bar
    else:
        with console.counter(len(batch.pending)) as advance:
            yield advance, None


def _document(batch: "Batch", restorer: "Restorer", start: float) -> dict[str, Any]:
    from lorair.runtime.batch import Status

    return {
        "lorair": console.lorair_version(),
        "bundle": str(restorer.bundle.path),
        "backend": restorer.backend.description,
        "jobs": restorer.jobs,
        "seconds": time.perf_counter() - start,
        "counts": {str(status): batch.count(status) for status in Status},
        "pictures": [outcome.to_dict() for outcome in batch.outcomes],
    }


def _print_result(result: "RestoredFile", *, in_full: bool) -> None:
    console.say(f"{result.source} -> {result.target}")
    if in_full:
        stages = ", ".join(f"{k} {t * 1000:.0f}" for k, t in result.seconds.items() if t > 0.0005)
        width, height = result.size
        console.say(f"  size   {width}x{height}")
        console.say(f"  route  {result.route.summary()}")
        console.say(f"  time   {sum(result.seconds.values()) * 1000:.0f} ms ({stages})")
    for note in result.notes:
        console.note(f"{result.source}: {note}")


def _conclude(batch: "Batch", seconds: float) -> None:
    """What became of them, and every error, on stderr."""
    from lorair.runtime.batch import Status

    done = batch.count(Status.RESTORED)
    counts = (f"{batch.count(s)} {s}" for s in Status if batch.count(s) or s is Status.RESTORED)
    console.note(f"{', '.join(counts)}; {seconds:.1f} s, {done / seconds:.2f} a second")
    if batch.count(Status.SKIPPED):
        console.note("skipped ones have a result already; --overwrite does them again")
    for error in batch.errors:
        console.stderr().print(f"error: {error.line()}", soft_wrap=True)


def _exit_code(batch: "Batch") -> int:
    if not batch.errors:
        return 0
    return batch.errors[0].exit_code if len(batch.errors) == len(batch.outcomes) else 1
