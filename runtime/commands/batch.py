"""`lorair-run batch`: restore folders on a Ray cluster."""

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime.cluster.session import AddressOption, require_ray
from lorair.runtime.commands import options
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.cluster.pool import Pool
    from lorair.runtime.cluster.run import RayRun


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Pictures and folders to restore, as paths or URIs."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The folder to write to, as a path or URI.", metavar="FOLDER"
        ),
    ],
    address: AddressOption = None,
    num_actors: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many processes restore. Default: as many as CPUs, GPUs and memory allow.",
        ),
    ] = None,
    num_gpus: Annotated[
        float, typer.Option(min=0, help="How many GPUs each process gets, such as 1 or 0.5.")
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=1, help="How many CPU threads each process gets.")
    ] = 1,
    format_: options.FormatOption = None,
    quality: options.QualityOption = None,
    compare: options.CompareOption = False,
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
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
    report: options.ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore folders of pictures on a Ray cluster, to the same files that `infer` writes.

    Continues a run that was interrupted. The bundle, and inputs and outputs that are paths,
    must be the same on every machine. The exit code is 1 if some pictures failed, and 130
    after Ctrl-C.
    """
    require_ray("restore", "pyarrow")
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.cluster.places import plan
    from lorair.runtime.cluster.restoring import Assignment
    from lorair.runtime.cluster.run import RayRun
    from lorair.runtime.files import Handling
    from lorair.runtime.images import Encoding
    from lorair.runtime.tiles import parse_tile

    start = time.perf_counter()
    every = options.check_guidance(route, route_from)
    encoding = Encoding(format_, quality)
    handling = Handling(max_pixels, encoding, parse_tile(tile), strength=strength)
    opened = Bundle.open(bundle)
    given, own_gates = options.guidance_of(opened, route, expert, gates)
    planned = plan(
        inputs, output, recursive=recursive, pattern=pattern,
        encoding=encoding, compare=compare,
    )  # fmt: skip
    if not as_json:
        options.note_names(planned.tasks)
    used = [Path(name) for task in planned.tasks for name in (task.source, *task.written)]
    console.check_report(report, [*used, *bundle.glob("*")])
    skip = planned.is_folder if skip_existing is None else skip_existing
    work = Assignment(
        planned.tasks, str(bundle.resolve()), backend, threads, handling, skip,
        planned.is_remote, given, every, own_gates,
    )  # fmt: skip
    run = RayRun(work)
    ray: dict[str, Any] = {}
    with options.Interruptible() as ended:
        if run.pending:
            _run(run, ray, address, num_actors, num_gpus, opened, quiet=as_json)
    about = {"bundle": str(bundle), "ray": ray}
    options.conclude(run, about, start, report, planned.left_out, as_json=as_json, code=ended.code)


def _run(
    run: "RayRun",
    ray: dict[str, Any],
    address: str | None,
    num_actors: int | None,
    num_gpus: float,
    bundle: "Bundle",
    *,
    quiet: bool,
) -> None:
    """Do what is pending; `ray` is told about the cluster, for the report."""
    from lorair.runtime.cluster.pool import Pool
    from lorair.runtime.cluster.session import session
    from lorair.runtime.system.machine import default_threads

    start, threads = time.perf_counter(), run.work.threads
    cpus = max(default_threads(), (num_actors or 1) * threads)
    with session(address, cpus) as found:
        seconds = time.perf_counter() - start
        pool = Pool.fitting(found, num_actors, threads, num_gpus, bundle)
        where = f"a cluster of {found.nodes}" if address else "this machine"
        if not quiet:
            console.note(f"Ray on {where}, {pool.actors} actors; started in {seconds:.1f} s")
        ray |= {"nodes": found.nodes, "actors": pool.actors, "start": seconds}
        _restore(run, pool, quiet=quiet)


def _restore(run: "RayRun", pool: "Pool", *, quiet: bool) -> None:
    with console.counter(len(run.pending)) as advance, closing(run.run(pool)) as outcomes:
        for outcome in outcomes:
            advance()
            if outcome.error is None and not quiet:
                console.say(f"{outcome.task.source} -> {outcome.task.target}")
                for note in outcome.result.notes if outcome.result is not None else ():
                    console.note(f"{outcome.task.source}: {note}")
