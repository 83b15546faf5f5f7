"""`lorair-run infer`: restore pictures and folders of pictures."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.commands import options
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.runtime.decoding.pool import Decoders
    from lorair.runtime.files import RestoredFile
    from lorair.runtime.folders.guidance import Guidance
    from lorair.runtime.folders.run import FolderRun, Progress
    from lorair.runtime.restorer import Restorer


def infer(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...", help="Pictures and folders to restore.", parser=options.input_path
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file or folder to write to. Default: STEM.restored.png beside each input.",
        ),
    ] = None,
    format_: options.FormatOption = None,
    quality: options.QualityOption = None,
    compare: options.CompareOption = False,
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    jobs: options.JobsOption = None,
    recursive: options.RecursiveOption = False,
    pattern: options.GlobOption = None,
    skip_existing: options.SkipOption = None,
    route: options.RouteOption = None,
    route_from: options.RouteFromOption = None,
    expert: options.ExpertOption = None,
    gates: options.GatesOption = None,
    strength: options.StrengthOption = 1.0,
    tile: options.TileOption = "auto",
    max_pixels: options.MaxPixelsOption = options.MAX_PIXELS,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Give up a picture that takes more seconds than this to decode. Default: wait."
        ),
    ] = None,
    report: options.ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore pictures and folders of pictures, and write each result beside its original.

    Continues a folder where an earlier run was interrupted. Never overwrites an input. The
    exit code is 1 if some of several pictures failed, and 130 after Ctrl-C.
    """
    from lorair.runtime import images
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.files import Handling
    from lorair.runtime.folders import plan as tasks
    from lorair.runtime.folders.guidance import Guidance
    from lorair.runtime.folders.run import FolderRun
    from lorair.runtime.tiles import parse_tile

    start = time.perf_counter()
    every = options.check_guidance(route, route_from)
    is_folder = tasks.has_folder(inputs)
    decoders = None if timeout is None else _decoders(timeout)
    decode = images.read if decoders is None else decoders.read
    encoding = images.Encoding(format_, quality)
    handling = Handling(max_pixels, encoding, parse_tile(tile), decode, strength)
    planned = tasks.plan(
        inputs, output, recursive=recursive, pattern=pattern,
        encoding=encoding, compare=compare,
    )  # fmt: skip
    used = [path for task in planned.tasks for path in (task.source, *task.written)]
    console.check_report(report, [*used, *bundle.glob("*")])
    skip = is_folder if skip_existing is None else skip_existing
    run = FolderRun(planned.tasks, skip_existing=skip, handling=handling)
    opened = Bundle.open(bundle)
    given, own_gates = options.guidance_of(opened, route, expert, gates)
    restorer = _open(bundle, backend, threads, jobs, len(planned.tasks))
    if not as_json:
        console.note(options.backend_note(restorer))
        options.note_names(planned.tasks)
    sources = [task.source for task in planned.tasks]
    guidance = Guidance(
        restorer, sources, lambda source: handling.read(source).pixels, given, every, own_gates
    )
    alone = len(planned.tasks) == 1 and not is_folder
    with decoders or nullcontext(), options.Interruptible() as ended:
        _run(run, restorer, guidance, in_full=not is_folder, quiet=as_json)
    about = {"bundle": str(bundle), "backend": restorer.backend.description, "jobs": restorer.jobs}
    options.conclude(
        run, about, start, report, planned.left_out,
        as_json=as_json, code=ended.code, alone=alone and not ended.code,
    )  # fmt: skip


def _decoders(timeout: float) -> "Decoders":
    from lorair.runtime.decoding.pool import Decoders

    return Decoders(timeout)


def _open(
    bundle: Path, backend: str, threads: int | None, jobs: int | None, pictures: int
) -> "Restorer":
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.system.machine import default_jobs

    if jobs is None:
        jobs = 1 if pictures == 1 else default_jobs(threads)
    return Restorer.open(bundle, backend, threads, jobs)


def _run(
    run: "FolderRun", restorer: "Restorer", guidance: "Guidance", *, in_full: bool, quiet: bool
) -> None:
    pending = run.pending
    with (
        _shown(run, pending) as progress,
        closing(run.run(restorer, guidance, restorer.jobs, progress)) as outcomes,
    ):
        for index, outcome in zip(pending, outcomes, strict=False):
            progress(index, 1.0, "")
            if outcome.result is not None and not quiet:
                _print_result(outcome.result, in_full=in_full)


@contextmanager
def _shown(run: "FolderRun", pending: list[int]) -> "Iterator[Progress]":
    """How far it is: within the one picture, or in pictures and the tiles of large ones."""
    if len(pending) == 1:
        with console.bar("restoring " + run.outcomes[pending[0]].task.source.name) as bar:
            yield lambda index, done, what: bar(done, what)
        return
    shares = dict.fromkeys(pending, 0.0)
    with console.counter(len(pending)) as advance:

        def report(index: int, done: float, what: str) -> None:
            advance(done - shares[index])
            shares[index] = done

        yield report


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
