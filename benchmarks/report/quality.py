"""Quality results: the classes' means, every picture, before and after."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.lines import Line2D

from lorair.benchmarks.quality.datasets import DATASETS
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
from lorair.benchmarks.schema import Picture, Published, QualityReport, Scores

TITLE: Final = "Quality"

_SCORES: Final = (
    ("PSNR", "psnr", 2), ("SSIM", "ssim", 3), ("PSNR Y", "psnr_y", 2), ("SSIM Y", "ssim_y", 3),
    ("PSNR authors\u2019", "psnr_authors", 2), ("SSIM authors\u2019", "ssim_authors", 3),
)  # fmt: skip
"""Name, field and digits. Files of older versions have no score by the authors' protocol."""

_SETS: Final = {"snow": "snow", "rain": "rainfog", "raindrop": "raindrop"}
"""The paper's test set of a class, in `DATASETS`."""

_COLUMNS: Final = tuple(f">{name} {when}" for name, *_ in _SCORES for when in ("before", "after"))


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
    """A line a data folder, or where there was one a class as the router saw it; and all."""
    groups = _groups(report)
    known = report.published is not None or any(name in _SETS for name in groups)
    rows = []
    for name, found in groups.items():
        published = _published(report.published or _of_class(name)) if known else ()
        rows.append((text(name), Cell(str(len(found)), len(found)), *_means(found), *published))
    if len(groups) > 1:
        every = (text("all"), Cell(str(len(report.pictures)), len(report.pictures)))
        rows.append((*every, *_means(report.pictures), *((text(None),) * 2 if known else ())))
    columns = ("class", ">pictures", *_COLUMNS)
    caption = f"Means by {'data folder' if report.groups else 'the class that the router chose'}"
    if known:
        columns += ("published set", ">published PSNR / SSIM")
        caption += (
            "; published: Setting I by its authors, by their protocol, with their weights on "
            "their test sets, so other pictures and another network than here"
        )
    return Table(caption, columns, tuple(rows))


def _groups(report: QualityReport) -> dict[str, list[Picture]]:
    if report.groups:
        names = {name: f"{name}/" for name in report.groups}
        found = {n: [p for p in report.pictures if p.name.startswith(b)] for n, b in names.items()}
        return {name: pictures for name, pictures in found.items() if pictures}
    routes = sorted({p.route for p in report.pictures})
    return {route: [p for p in report.pictures if p.route == route] for route in routes}


def _of_class(name: str) -> Published | None:
    return DATASETS[_SETS[name]].published if name in _SETS else None


def _published(found: Published | None) -> tuple[Cell, Cell]:
    if found is None:
        return text(None), text(None)
    return text(found.dataset), Cell(f"{found.psnr:.2f} / {found.ssim:.3f}")


def _means(found: Sequence[Picture]) -> list[Cell]:
    return _score_cells([
        _mean([getattr(getattr(p, when), field) for p in found])
        for _, field, _ in _SCORES
        for when in ("before", "after")
    ])  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _score_cells(values: Sequence[float | None]) -> list[Cell]:
    """Before and after of each score, in its digits."""
    digits = [places for *_, places in _SCORES for _ in range(2)]
    return [
        text(None) if value is None else Cell(f"{value:.{places}f}", value)
        for value, places in zip(values, digits, strict=True)
    ]


def _pictures(pictures: Sequence[Picture]) -> Table:
    rows = tuple(
        (text(p.name), text(f"{p.width}x{p.height}"), text(p.route),
         *_score_cells([getattr(s, f) for _, f, _ in _SCORES for s in (p.before, p.after)]))
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
        f"{route} from {np.mean([p.before.psnr for p in group]):.2f} "
        f"to {np.mean([p.after.psnr for p in group]):.2f} dB"
        for route, group in zip(routes, groups, strict=True)
    )
    return Plot(f"{source.anchor}_psnr", figure, f"{title}. Means: {alt}.", _psnr(pictures))


def _psnr(pictures: Sequence[Picture]) -> Table:
    rows = tuple(
        (text(p.name), text(p.route), *(Cell(f"{s.psnr:.2f}", s.psnr) for s in (p.before, p.after)))
        for p in pictures
    )
    return Table("PSNR on RGB, dB", ("", "route", ">before", ">after"), rows, folded=True)


def _words(p: Picture) -> str:
    return f"{p.route}: {_pair(p.before)} before, {_pair(p.after)} after"


def _pair(scores: Scores) -> str:
    return f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.3f}"
