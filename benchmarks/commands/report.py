"""The command `lorair-bench report`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lorair.runtime.errors import OutputError
from lorair.runtime.system import console
from lorair.runtime.system.atomic import atomic_file, check_writable_file
from lorair.runtime.system.extras import require


def report(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RUN.json...", help="Result files of any kind, in their order."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each plot as PNG and SVG into this folder."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the tables for a README here; - prints them."),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's heading.")] = "lorair benchmarks",
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Backend that `times as fast` refers to. [the slowest]"),
    ] = None,
) -> None:
    """One page from result files: tables, plots, pictures. It needs no network, now or later."""
    require("make a report", "bench", "jinja2", "matplotlib")
    from lorair.benchmarks.report.build import make, read_sources

    printed = markdown == Path("-")
    tables = None if printed else markdown
    _check_outputs([path for path in (output, tables) if path is not None], results)
    sources = read_sources(results)
    with console.status("drawing"):
        made = make(sources, title, baseline, with_plots=plots is not None)
    files = {plots / name: data for name, data in made.plots.items()} if plots else {}
    if tables is not None:
        files[tables] = made.markdown.encode()
    files[output] = made.html.encode()
    _check_outputs(list(files), results)
    for path, data in files.items():
        with atomic_file(path) as partial:
            partial.write_bytes(data)
    if printed:
        print(made.markdown, end="")
    console.note(f"{output}: {len(made.html) / 1e6:.1f} MB, {len(results)} results")


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Every output can be written, and is neither an input nor another output."""
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        check_writable_file(path)
        if path.resolve() in taken:
            raise OutputError(
                f"cannot write {path}",
                wanted="a file of its own",
                found="a result, or another output",
                hint="choose another name, such as report.html",
            )
        taken.add(path.resolve())
