"""The command `lorair-bench tiles`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.schema import TileRow, TilesReport
    from lorair.runtime.restorer import Restorer


def tiles(
    pictures: Annotated[
        list[Path], typer.Option("--images", help="A picture, or a folder of them. Repeat.")
    ],
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    sides: Annotated[
        list[int] | None,
        typer.Option("--tile", min=64, help="Side; repeat for several. [128, 256, 384]"),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """What tiles cost: each picture in tiles against the same picture restored at once."""
    from lorair.benchmarks.quality.tiles import measure
    from lorair.benchmarks.schema.environment import now
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.runtime.folders import plan as tasks
    from lorair.runtime.restorer import Restorer

    if report is not None:
        console.check_report(report, bundle.glob("*"))
    wanted = sides or [128, 256, 384]
    sources = [task.source for task in tasks.plan(pictures, None)]
    restorer, started = Restorer.open(bundle, backend, threads), now()
    rows: list[TileRow] = []
    with (
        kept(report, lambda complete: _report(restorer, rows, started, complete)),
        console.counter(len(sources)) as done,
    ):
        measure(restorer, sources, wanted, rows, done)
    document = _report(restorer, rows, started, True)
    if document is None:
        raise OptionError(
            "--tile", wanted="a side below a picture's", found=" ".join(map(str, wanted))
        )
    if as_json:
        console.print_json(to_json(document))
    else:
        _print(document)


def _report(
    restorer: "Restorer", rows: "list[TileRow]", started: str, complete: bool
) -> "TilesReport | None":
    from lorair.benchmarks.schema import TilesReport
    from lorair.benchmarks.schema.environment import command_line, describe, describe_bundle

    if not rows:
        return None
    return TilesReport(
        complete=complete,
        command=command_line(),
        date=started,
        environment=describe(),
        bundles=(describe_bundle(restorer.bundle, restorer.bundle.path.name),),
        backend=restorer.backend.name,
        rows=tuple(rows),
    )


def _print(document: "TilesReport") -> None:
    table = console.table(
        "picture", ">size", ">tile", ">PSNR, dB", ">seam, of 255", ">seconds", ">at once, s"
    )
    for row in document.rows:
        size = f"{row.width}x{row.height}"
        quality = f"{row.psnr_db:.1f}", f"{row.seam:.1f}"
        times = f"{row.seconds:.2f}", f"{row.untiled_seconds:.2f}"
        table.add_row(row.picture, size, str(row.tile), *quality, *times)
    console.stdout().print(table)
