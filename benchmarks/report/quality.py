"""The sections and plots of quality results: means, every picture, before and after."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lorair.benchmarks.report import draw
from lorair.benchmarks.report.content import Plot, Section, Slider, Source, file_section
from lorair.benchmarks.report.draw import LIGHT
from lorair.benchmarks.schema.quality import Picture, QualityReport, Scores
from lorair.benchmarks.tables.cells import text
from lorair.benchmarks.tables.quality import by_route, classes, pictures, router_accuracy
from lorair.runtime.system.table import Cell, Table


def section(source: Source[QualityReport]) -> Section:
    """Return everything of a quality result."""
    report = source.report
    remarks = [str(report.settings["description"])] if "description" in report.settings else []
    if not report.pictures:
        return file_section(source, remarks)
    if (right := router_accuracy(report)) is not None:
        remarks.append(right)
    sliders = [Slider(p.name, _words(p), p.preview) for p in report.pictures if p.preview]
    return file_section(
        source, remarks, tables=[classes(report), pictures(report)], sliders=sliders,
        plots=[_plot(source.anchor, report.pictures)], summary=[classes(report)],
    )  # fmt: skip


def _plot(anchor: str, found: Sequence[Picture]) -> Plot:
    title = "PSNR of every picture, before and after"
    groups = by_route(found)
    alt = "; ".join(
        f"{route} from {np.mean([p.before.psnr for p in group]):.2f} "
        f"to {np.mean([p.after.psnr for p in group]):.2f} dB"
        for route, group in groups.items()
    )
    rows = tuple(
        (text(p.name), text(p.route), *(Cell(f"{s.psnr:.2f}", s.psnr) for s in (p.before, p.after)))
        for p in found
    )
    columns = ("", "route", ">before", ">after")
    table = Table("PSNR on RGB, dB", columns, rows, folded=True)
    return Plot(f"{anchor}_psnr", _draw(title, groups), f"{title}. Means: {alt}.", table)


def _draw(title: str, groups: dict[str, list[Picture]]) -> Figure:
    """Every picture before and after, a row for each class."""
    heights = [max(1.0, 0.22 * len(group)) for group in groups.values()]
    figure, axes = draw.canvas(title, 130 + 52 * sum(heights), "PSNR on RGB, dB")
    top = 0.0
    for (route, group), height in zip(groups.items(), heights, strict=True):
        axes.text(0, top, draw.short(route), transform=axes.get_yaxis_transform(), va="top")
        for i, p in enumerate(group):
            y = top - 0.34 - 0.6 * height * (i + 0.5) / len(group)
            axes.plot([p.before.psnr, p.after.psnr], [y, y], color=LIGHT["grey"], lw=1.2, zorder=1)
            axes.plot(p.before.psnr, y, "o", mfc=LIGHT["paper"], mec=LIGHT["vermillion"], ms=5)
            axes.plot(p.after.psnr, y, "o", color=LIGHT["blue"], ms=5)
        top -= height
    axes.set_ylim(top - 0.05, 0.1)
    draw.hide_y(axes)
    handles = [draw.dot("o", LIGHT["vermillion"], LIGHT["paper"]), draw.dot("o", LIGHT["blue"])]
    draw.place_legend(figure, handles, ["degraded", "restored"])
    return figure


def _words(p: Picture) -> str:
    return f"{p.route}: {_pair(p.before)} before, {_pair(p.after)} after"


def _pair(scores: Scores) -> str:
    return f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.3f}"
