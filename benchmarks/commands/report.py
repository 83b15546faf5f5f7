"""The command `lorair-bench report`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.runtime.system import console
from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.extras import require


def report(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RUN.json...", help="Result files of any kind, in their order."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the page here.")] = Path(
        "report.html"
    ),
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each plot as PNG and SVG to this folder."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the tables as Markdown to this file; - prints them."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "lorair benchmarks",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Backend that `times as fast` refers to. Default: the slowest."
        ),
    ] = None,
) -> None:
    """Make one page of result files, with tables, plots and pictures.

    The page loads nothing from anywhere, so it can be opened without a network.
    """
    require("make a report", "bench", "jinja2", "matplotlib")
    from lorair.benchmarks.report.build import make, read_sources

    printed = markdown == Path("-")
    tables = None if printed else markdown
    console.check_outputs([path for path in (output, tables) if path is not None], results)
    sources = read_sources(results)
    with console.status("drawing"):
        made = make(sources, title, baseline, with_plots=plots is not None)
    files = {plots / name: data for name, data in made.plots.items()} if plots else {}
    if tables is not None:
        files[tables] = made.markdown.encode()
    files[output] = made.html.encode()
    console.check_outputs(files, results)
    for path, data in files.items():
        with atomic_file(path) as partial:
            partial.write_bytes(data)
    if printed:
        print(made.markdown, end="")
    console.note(f"{output}: {len(made.html) / 1e6:.1f} MB, {len(results)} results")
