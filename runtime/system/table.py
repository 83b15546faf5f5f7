"""A table, and its writers for the terminal and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorair.runtime.system import console

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Cell:
    """A cell's text. value: the number that the text rounds, if it is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Columns and rows under a caption.

    columns: those that start with `>` are right-aligned. folded: whether a page shows the
    table only when it is asked for.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


def to_terminal(table: Table) -> "RichTable":
    """Return the table as Rich prints it."""
    out = console.table(*table.columns, title=table.caption or None)
    for row in table.rows:
        out.add_row(*(cell.text for cell in row))
    return out


def to_markdown(table: Table, escape: bool = True) -> str:
    """Return the table's lines in Markdown, without the caption.

    Args:
        table: what to write.
        escape: show every character as it is; False leaves markup in cells alone.
    """
    shown = escaped if escape else str
    rule = ["---:" if column.startswith(">") else "---" for column in table.columns]
    lines: list[Sequence[str]] = [[shown(column.lstrip(">")) for column in table.columns], rule]
    lines += [[shown(cell.text) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no end of a cell."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|":
        plain = plain.replace(character, f"\\{character}")
    return plain
