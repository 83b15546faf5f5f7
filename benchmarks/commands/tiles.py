"""The command `lorair-bench tiles`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorair.benchmarks.commands.options import ReportOption
from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.schema.quality import TileRow

_SIDES: Final = [128, 256, 384]


def tiles(
    pictures: Annotated[
        list[Path], typer.Option("--images", help="A picture or a folder of pictures. Repeatable.")
    ],
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    sides: Annotated[
        list[int], typer.Option("--tile", min=64, help="Side of the tiles. Repeatable.")
    ] = _SIDES,
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Measure what tiles cost: restore each picture in tiles and at once, and compare.

    Pictures no larger than a tile are left out.
    """
    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.quality.tiles import measure
    from lorair.benchmarks.schema.quality import TilesReport
    from lorair.benchmarks.tables import quality as tables
    from lorair.runtime.folders import plan as tasks
    from lorair.runtime.restorer import Restorer

    console.check_outputs([report] if report else [], bundle.glob("*"))
    sources = [task.source for task in tasks.plan(pictures, None).tasks]
    restorer, rows = Restorer.open(bundle, backend, threads), list["TileRow"]()
    with (
        result(
            TilesReport, lambda: {"rows": tuple(rows)}, lambda r: [tables.tiles(r)], report,
            as_json, {restorer.bundle.path.name: restorer.bundle}, backend=restorer.backend.name,
        ),
        console.counter(len(sources)) as done,
    ):  # fmt: skip
        measure(restorer, sources, sides, rows, done)
        if not rows:
            texts = " ".join(map(str, sides))
            raise OptionError("--tile", wanted="a side below a picture's", found=texts)
