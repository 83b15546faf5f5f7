"""Quality results: the classes' means, every picture, before and after."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.lines import Line2D

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import (
    Cell,
    Plot,
    Section,
    Slider,
    Source,
    Table,
    text,
)
from lorair.benchmarks.report.files import file_section
from lorair.benchmarks.report.palette import LIGHT
from lorair.benchmarks.schema import Picture, QualityReport, Scores

TITLE: Final = "Quality"

PUBLISHED: Final = {
    "snow": ("Snow100K-L", 32.28, 0.930),
    "rain": ("Outdoor-Rain", 32.62, 0.945),
    "raindrop": ("RainDrop", 33.39, 0.949),
}
"""Data set, PSNR in dB and SSIM of Setting I in the LoRA-IR paper, by class."""

_SCORES: Final = (("PSNR", "psnr"), ("SSIM", "ssim"), ("PSNR Y", "psnr_y"), ("SSIM Y", "ssim_y"))
_COLUMNS: Final = tuple(f">{name} {when}" for name, _ in _SCORES for when in ("before", "after"))


def section(source: Source) -> Section:
    """Everything of one file."""
    report = source.report
    assert isinstance(report, QualityReport)
    pictures = report.pictures
    classes = _classes(report)
    remarks = [str(report.settings["description"])] if "description" in report.settings else []
    tables = (classes, _pictures(pictures)) if pictures else ()
    sliders = tuple(Slider(p.name, _words(p), p.preview) for p in pictures if p.preview is not None)
    plots = (_plot(source, pictures),) if pictures else ()
    summary = (Table(f"{source.label}: {classes.caption}", classes.columns, classes.rows),)
    return file_section(
        source, remarks, tables=tables, plots=plots, sliders=sliders, summary=summary
    )


def _classes(report: QualityReport) -> Table:
    """A line a class, as the router saw it, and all together."""
    routes = sorted({p.route for p in report.pictures})
    groups = [(r, [p for p in report.pictures if p.route == r]) for r in routes]
    known = any(route in PUBLISHED for route in routes)
    rows = []
    for route, found in groups:
        means = [_mean(found, when, m) for _, m in _SCORES for when in ("before", "after")]
        cells = _score_cells(means)
        rows.append((text(route), Cell(str(len(found)), len(found)), *cells,
                     *(_published(route) if known else ())))  # fmt: skip
    if report.mean is not None:
        means = [
            getattr(getattr(report.mean, w), m) for _, m in _SCORES for w in ("before", "after")
        ]
        rows.append((text("all"), Cell(str(len(report.pictures)), len(report.pictures)),
                     *_score_cells(means), *((text(None),) * 2 if known else ())))  # fmt: skip
    columns = ("class", ">pictures", *_COLUMNS)
    caption = "Means by the class that the router chose"
    if known:
        columns += ("published set", ">published PSNR / SSIM")
        caption += (
            "; published: Setting I by its authors, with their weights on their test sets, so "
            "other pictures and another network than here"
        )
    return Table(caption, columns, tuple(rows))


def _published(route: str) -> tuple[Cell, Cell]:
    if route not in PUBLISHED:
        return text(None), text(None)
    name, psnr, ssim = PUBLISHED[route]
    return text(name), Cell(f"{psnr:.2f} / {ssim:.3f}")


def _mean(found: Sequence[Picture], when: str, metric: str) -> float:
    return float(np.mean([getattr(getattr(p, when), metric) for p in found]))


def _score_cells(values: Sequence[float]) -> list[Cell]:
    """PSNR in two digits behind the point, SSIM in three, in turn by pairs."""
    return [Cell(f"{v:.{3 if i // 2 % 2 else 2}f}", v) for i, v in enumerate(values)]


def _pictures(pictures: Sequence[Picture]) -> Table:
    rows = tuple(
        (text(p.name), text(f"{p.width}x{p.height}"), text(p.route),
         *_score_cells([getattr(s, m) for _, m in _SCORES for s in (p.before, p.after)]))
        for p in pictures
    )  # fmt: skip
    return Table("Every picture", ("", "size", "route", *_COLUMNS), rows, folded=True)


def _plot(source: Source, pictures: Sequence[Picture]) -> Plot:
    """Every picture before and after, a row for each class."""
    routes = sorted({p.route for p in pictures})
    title = "PSNR of every picture, before and after"
    groups = [[p for p in pictures if p.route == route] for route in routes]
    heights = [max(1.0, 0.22 * len(group)) for group in groups]
    figure, axes = charts.canvas(title, 130 + 52 * sum(heights), "PSNR on RGB, dB")
    top = 0.0
    for route, group, height in zip(routes, groups, heights, strict=True):
        axes.text(0, top, charts.short(route), transform=axes.get_yaxis_transform(), va="top")
        for i, p in enumerate(group):
            y = top - 0.34 - 0.6 * height * (i + 0.5) / len(group)
            axes.plot([p.before.psnr, p.after.psnr], [y, y], color=LIGHT["grey"], lw=1.2, zorder=1)
            axes.plot(p.before.psnr, y, "o", mfc=LIGHT["paper"], mec=LIGHT["vermillion"], ms=5)
            axes.plot(p.after.psnr, y, "o", color=LIGHT["blue"], ms=5)
        top -= height
    axes.set_ylim(top - 0.05, 0.1)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    handles = [
        Line2D([], [], ls="", marker="o", mfc=LIGHT["paper"], mec=LIGHT["vermillion"]),
        Line2D([], [], ls="", marker="o", color=LIGHT["blue"]),
    ]
    charts.place_legend(figure, handles, ["degraded", "restored"])
    alt = "; ".join(
        f"{r} from {_mean(g, 'before', 'psnr'):.2f} to {_mean(g, 'after', 'psnr'):.2f} dB"
        for r, g in zip(routes, groups, strict=True)
    )
    return Plot(f"{source.anchor}_psnr", figure, f"{title}. Means: {alt}.", _psnr(pictures))


def _psnr(pictures: Sequence[Picture]) -> Table:
    rows = tuple(
        (text(p.name), text(p.route), *_score_cells([p.before.psnr, p.after.psnr]))
        for p in pictures
    )
    return Table("PSNR on RGB, dB", ("", "route", ">before", ">after"), rows, folded=True)


def _words(p: Picture) -> str:
    return f"{p.route}: {_pair(p.before)} before, {_pair(p.after)} after"


def _pair(scores: Scores) -> str:
    return f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.3f}"
