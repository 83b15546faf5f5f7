"""The tables of `lorair-bench quality` and `lorair-bench tiles`."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from lorair.benchmarks.quality.datasets import DATASETS
from lorair.benchmarks.quality.quality import means
from lorair.benchmarks.schema.quality import Picture, QualityReport, Scores, TilesReport
from lorair.benchmarks.tables.cells import count, number, text
from lorair.runtime.system.table import Cell, Table

_PROTOCOLS: Final = {"RGB": "", "Y": "_y", "authors\u2019 script": "_authors"}
"""Protocols, and the endings of their scores. Old files have none by the authors' script."""

_SHOWN: Final = {"PSNR": "psnr", "SSIM": "ssim", "PSNR Y": "psnr_y"}
"""What the terminal has room for."""

_SCORES: Final = {
    f"{score.upper()} {protocol}": f"{score}{ending}"
    for protocol, ending in _PROTOCOLS.items()
    for score in ("psnr", "ssim")
}

_SETS: Final = {"snow": "snow", "rain": "rainfog", "raindrop": "raindrop"}
"""The paper's test set of a class, in `DATASETS`."""


def quality_shown(report: QualityReport) -> Iterator[Table | str]:
    """Yield what the terminal shows: every picture, then the means."""
    yield pictures(report, _SHOWN)
    yield classes(report)
    if (right := router_accuracy(report)) is not None:
        yield right
    if (published := report.published) is not None:
        yield (
            f"published: {published.dataset}, by the authors' script ({published.source}), means "
            f"of {published.pictures} pictures, where this run has {len(report.pictures)}"
        )


def pictures(report: QualityReport, scores: Mapping[str, str] = _SCORES) -> Table:
    """Return one line for each picture. scores: names and fields."""
    rows = tuple(
        (
            text(p.name), text(f"{p.width}x{p.height}"), text(p.route),
            *(_change(p.before, p.after, field) for field in scores.values()),
        )
        for p in report.pictures
    )  # fmt: skip
    columns = ("picture", "size", "route", *(f">{name}" for name in scores))
    return Table("Every picture, before → after", columns, rows, folded=True)


def classes(report: QualityReport) -> Table:
    """Return the means of each data folder, or else of each class that the router chose.

    The last lines are of all pictures. What the authors published for the paper's test set of
    a class stands beside the means by their protocol.
    """
    groups = by_class(report)
    if len(groups) > 1:
        groups["all"] = list(report.pictures)
    rows = tuple(row for name, found in groups.items() for row in _class(report, name, found))
    columns = ("", ">pictures", "protocol", ">PSNR", ">SSIM", ">mean gain, dB", ">least gain, dB",
               ">published, PSNR / SSIM")  # fmt: skip
    by = "data folder" if report.groups else "the class that the router chose"
    return Table(
        f"Means by {by}, before → after; published: Setting I by its authors, with their weights "
        "on their test sets, so other pictures and another network than here",
        columns,
        rows,
    )


def router_accuracy(report: QualityReport) -> str | None:
    """Return how many pictures the router routed right, by data folders named for classes.

    None if no folder is, or the gates were chosen by hand.
    """
    classes = {name for b in report.bundles for name in str(b.model.get("classes")).split(", ")}
    found = {name: some for name, some in by_class(report).items() if name in classes}
    if not report.groups or not found or report.settings.get("expert") is not None:
        return None
    right = {name: sum(p.route == name for p in some) for name, some in found.items()}
    each = ", ".join(f"{name} {right[name]} of {len(some)}" for name, some in found.items())
    total, pictures = sum(right.values()), sum(map(len, found.values()))
    return f"the router is right on {total} of {pictures} pictures ({total / pictures:.0%}): {each}"


def _class(
    report: QualityReport, name: str, found: Sequence[Picture]
) -> Iterator[tuple[Cell, ...]]:
    """A line for each protocol."""
    mean = means(found)
    assert mean is not None
    for protocol, ending in _PROTOCOLS.items():
        psnr = f"psnr{ending}"
        if getattr(mean.before, psnr) is None:
            continue
        gains = [getattr(p.after, psnr) - getattr(p.before, psnr) for p in found]
        paper = DATASETS[_SETS[name]].published if name in _SETS else None
        published = (report.published or paper) if ending == "_authors" else None
        yield (
            text(name), count(len(found)), text(protocol),
            *(_change(mean.before, mean.after, f"{score}{ending}") for score in ("psnr", "ssim")),
            *(text(f"{gain:+.2f}") for gain in (statistics.mean(gains), min(gains))),
            text(f"{published.psnr:.2f} / {published.ssim:.3f}" if published else None),
        )  # fmt: skip


def _change(before: Scores, after: Scores, field: str) -> Cell:
    """A score before and after; a dash where a file has none."""
    a, b, digits = getattr(before, field), getattr(after, field), 2 if "psnr" in field else 3
    return text(None if a is None else f"{a:.{digits}f} → {b:.{digits}f}")


def by_class(report: QualityReport) -> dict[str, list[Picture]]:
    """Return the pictures of each data folder, or else of each class that the router chose."""
    if report.groups:
        found = {n: [p for p in report.pictures if p.name.startswith(f"{n}/")]
                 for n in report.groups}  # fmt: skip
        return {name: some for name, some in found.items() if some}
    return by_route(report.pictures)


def by_route(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Return the pictures of each class that the router chose."""
    routes = sorted({p.route for p in pictures})
    return {route: [p for p in pictures if p.route == route] for route in routes}


def tiles(report: TilesReport) -> Table:
    """Return one line for each picture and side of tiles."""
    columns = ("picture", ">size", ">tile", ">PSNR, dB", ">seam, of 255", ">seconds",
               ">seconds at once")  # fmt: skip
    rows = tuple(
        (
            text(row.picture), text(f"{row.width}x{row.height}"), count(row.tile),
            number(row.psnr_db), number(row.seam), number(row.seconds),
            number(row.untiled_seconds),
        )
        for row in report.rows
    )  # fmt: skip
    return Table("Pictures in tiles against the same restored at once", columns, rows)
