"""Time and memory by the size of the picture, of one latency result or of several together."""

from collections.abc import Callable, Sequence

from lorair.benchmarks.report import charts
from lorair.benchmarks.report.content import (
    Cell,
    Plot,
    Table,
    gigabytes,
    milliseconds,
    rounded,
    text,
)
from lorair.benchmarks.schema import Configuration

Named = Sequence[tuple[str, Configuration]]


def megapixels(c: Configuration) -> float:
    """Of the picture."""
    return c.height * c.width / 1e6


def curves(name: str, found: Named, where: str = "") -> tuple[Plot, ...]:
    """Two curves for each named configuration; all of them have a total. where: for titles."""
    plots = [_time(name, found, where)]
    if any(c.memory.host for _, c in found):
        plots.append(_memory(name, [(n, c) for n, c in found if c.memory.host], where))
    return tuple(plots)


def _time(name: str, found: Named, where: str) -> Plot:
    series = []
    for label, several in _by_name(found).items():
        totals = [c.summary["total"] for c in several]
        series.append(
            charts.Series(
                label,
                [megapixels(c) for c in several],
                [s.p50 for s in totals],
                [s.interval.low for s in totals],
                [s.interval.high for s in totals],
            )
        )
    title = f"Time by size{where}"
    figure = charts.lines(title, "megapixels", "seconds, file to file", series, (True, True))
    table = _table(f"{title}, medians in milliseconds", found,
                   lambda c: milliseconds(c.summary["total"].p50))  # fmt: skip
    return Plot(f"{name}_time-by-size", figure, _alt(title, series, "s"), table)


def _memory(name: str, found: Named, where: str) -> Plot:
    series = [
        charts.Series(
            label, [megapixels(c) for c in several], [(c.memory.host or 0) / 1e9 for c in several]
        )
        for label, several in _by_name(found).items()
    ]
    title = f"Peak memory by size{where}"
    figure = charts.lines(title, "megapixels", "GB", series, (True, False))
    table = _table(f"{title}, GB", found, lambda c: gigabytes(c.memory.host))
    return Plot(f"{name}_memory-by-size", figure, _alt(title, series, "GB"), table)


def _by_name(found: Named) -> dict[str, list[Configuration]]:
    names = dict.fromkeys(name for name, _ in found)
    return {n: sorted((c for name, c in found if name == n), key=megapixels) for n in names}


def _table(caption: str, found: Named, cell: Callable[[Configuration], Cell]) -> Table:
    groups = _by_name(found)
    sizes = sorted({(megapixels(c), c.size) for _, c in found})
    rows = []
    for _, size in sizes:
        of_size = [
            next((c for c in several if c.size == size), None) for several in groups.values()
        ]
        rows.append((text(size), *(text(None) if c is None else cell(c) for c in of_size)))
    return Table(caption, ("size", *(f">{n}" for n in groups)), tuple(rows), folded=True)


def _alt(title: str, series: Sequence[charts.Series], unit: str) -> str:
    parts = [
        f"{s.name} from {rounded(s.y[0])} {unit} at {s.x[0]:.2g} megapixels "
        f"to {rounded(s.y[-1])} {unit} at {s.x[-1]:.2g}"
        for s in series
    ]
    return f"{title}: {'; '.join(parts)}."
