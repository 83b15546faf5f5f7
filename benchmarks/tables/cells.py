"""Cells of measured values, rounded for people."""

from collections.abc import Iterable, Mapping

from lorair.benchmarks.schema.latency import Interval
from lorair.runtime.system.table import Cell, Table


def text(value: object) -> Cell:
    """Return a cell that is no number; a dash for None."""
    return Cell("–" if value is None else str(value))


def count(value: int) -> Cell:
    """Return a whole number as it is."""
    return Cell(str(value), value)


def rounded(value: float) -> str:
    """Return three digits or more, none behind the point from 100 on; 0.00 for next to nothing."""
    if abs(value) < 1:
        return f"{value:#.3g}" if abs(value) >= 1e-4 else "0.00"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def number(value: float | None, scale: float = 1.0) -> Cell:
    """Return a measured number, shown times `scale`; a dash for None."""
    return Cell("–") if value is None else Cell(rounded(value * scale), float(value))


def milliseconds(seconds: float | None) -> Cell:
    """Return seconds, shown in milliseconds."""
    return number(seconds, 1e3)


def megabytes(size: float | None) -> Cell:
    """Return bytes, shown in MB."""
    return number(size, 1e-6)


def gigabytes(size: float | None) -> Cell:
    """Return bytes, shown in GB."""
    return number(size, 1e-9)


def span(low: float, high: float, scale: float = 1.0) -> Cell:
    """Return `LOW to HIGH`."""
    return Cell(f"{rounded(low * scale)} to {rounded(high * scale)}")


def interval_ms(interval: Interval | None) -> Cell:
    """Return an interval of seconds, shown in milliseconds; a dash for None."""
    return text(None) if interval is None else span(interval.low, interval.high, 1e3)


def by_column(
    caption: str, head: str, columns: Mapping[str, Mapping[str, Cell]], order: Iterable[str] = ()
) -> Table:
    """Return a folded table with a column for each name and a row for each key.

    head: what the keys are. columns: each name's cells by key; a dash stands for a missing one.
    order: keys that come first, in this order.
    """
    keys = dict.fromkeys([*order, *(key for cells in columns.values() for key in cells)])
    rows = tuple(
        (text(key), *(cells.get(key, text(None)) for cells in columns.values())) for key in keys
    )
    return Table(caption, (head, *(f">{name}" for name in columns)), rows, folded=True)
