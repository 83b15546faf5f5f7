"""Tiles: how far pictures in tiles are from the same pictures at once."""

from typing import Final

import numpy as np

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import (
    Plot,
    Section,
    Source,
    Table,
    number,
    rounded,
    text,
)
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.schema import TileRow, TilesReport
from lorair.benchmarks.schema.statistics import median_interval

TITLE: Final = "Tiles"


def section(source: Source) -> Section:
    """Everything of one file."""
    report = source.report
    assert isinstance(report, TilesReport)
    table = _table(report.rows)
    return file_section(
        source,
        [report.backend, "Pictures in tiles against the same pictures restored at once."],
        tables=(table,),
        plots=(_plot(source, report.rows),),
        summary=(Table(source.label, table.columns, table.rows),),
    )


def _table(rows: tuple[TileRow, ...]) -> Table:
    columns = ("picture", ">size", ">tile", ">PSNR, dB", ">seam, of 255", ">seconds", ">at once, s")
    body = tuple(
        (
            text(row.picture), text(f"{row.width}×{row.height}"), number(row.tile),
            number(row.psnr_db), number(row.seam), number(row.seconds),
            number(row.untiled_seconds),
        )
        for row in rows
    )  # fmt: skip
    return Table("Every picture and side", columns, body)


def _plot(source: Source, rows: tuple[TileRow, ...]) -> Plot:
    title, strips, body = "PSNR by the tiles' side", [], []
    for side in sorted({row.tile for row in rows}):
        values = [row.psnr_db for row in rows if row.tile == side]
        low, high = median_interval(values)
        strips.append(charts.Strip(f"tile {side}", values, float(np.median(values)), low, high))
        body += [(number(side), number(value)) for value in values]
    table = Table(title, (">tile", ">PSNR, dB"), tuple(body), folded=True)
    alt = "; ".join(f"{strip.name}: median {rounded(strip.median)} dB" for strip in strips)
    figure = charts.strips(title, "dB, higher is nearer", strips)
    return Plot(f"{source.anchor}_psnr", figure, f"{title}. {alt}.", table)
