"""How `lorair-bench quality` shows its result."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lorair.benchmarks.schema import Means, Published, QualityReport
from lorair.runtime.system import console

if TYPE_CHECKING:
    from rich.table import Table

_PROTOCOLS = (
    ("RGB", "psnr", "ssim"),
    ("Y", "psnr_y", "ssim_y"),
    ("authors' script", "psnr_authors", "ssim_authors"),
)


def print_quality(document: QualityReport) -> None:
    """A row for each picture; the means of each group and of all, on stdout."""
    out = console.stdout()
    out.print(_pictures(document))
    for name, mean in document.groups.items():
        out.print(_means(f"mean of {name}", mean, None))
    if document.mean:
        title = f"mean of {len(document.pictures)}"
        out.print(_means(title, document.mean, document.published))
    if document.published:
        out.print(_remark(document.published, len(document.pictures)), soft_wrap=True)


def _pictures(document: QualityReport) -> "Table":
    rows = console.table("picture", "route", *(f">{m}" for m in ("PSNR", "SSIM", "PSNR Y")))
    for p in document.pictures:
        scores = Means(before=p.before, after=p.after)
        cells = [_cell(scores, m) for m in ("psnr", "ssim", "psnr_y")]
        rows.add_row(p.name, p.route, *cells)
    return rows


def _means(title: str, mean: Means, published: Published | None) -> "Table":
    rows = console.table("before > after", ">PSNR", ">SSIM", title=title)
    for cells in _rows(mean, published):
        rows.add_row(*cells)
    return rows


def _rows(mean: Means, published: Published | None) -> Iterator[tuple[str, str, str]]:
    for name, psnr, ssim in _PROTOCOLS:
        yield name, _cell(mean, psnr), _cell(mean, ssim)
    if published:
        yield "published", f"{published.psnr:.2f}", f"{published.ssim:.3f}"


def _cell(both: Means, metric: str) -> str:
    digits = 2 if metric.startswith("psnr") else 3
    before, after = (getattr(scores, metric) for scores in (both.before, both.after))
    return f"{before:.{digits}f} > {after:.{digits}f}"


def _remark(published: Published, count: int) -> str:
    text = f"published: {published.dataset}, by the authors' script ({published.source})"
    if count == published.pictures:
        return text
    return f"{text}; of {published.pictures} pictures, where this run has {count}"
