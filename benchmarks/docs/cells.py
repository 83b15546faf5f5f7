"""Numbers and tables as Markdown has them in the documents."""

from collections.abc import Iterable


def table(heads: list[str], rows: Iterable[list[str]], left: int = 1) -> str:
    """A Markdown table; columns from `left` on are right-aligned."""
    lines = [heads, ["---"] * left + ["---:"] * (len(heads) - left), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def milliseconds(value: float) -> str:
    """Seconds as milliseconds, three digits or all before the point."""
    return f"{value * 1e3:.0f}" if value >= 0.1 else f"{value * 1e3:.1f}"


def seconds(value: float) -> str:
    """Two digits behind the point below ten, one below a hundred, then none."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def gigabytes(value: int | None) -> str:
    """Bytes as GB with two digits; a question mark if not known."""
    return "?" if value is None else f"{value / 1e9:.2f}"


def square(size: str) -> str:
    """`512²` for 512x512, other sizes as they are."""
    height, width = size.split("x")
    return f"{height}²" if height == width else size
