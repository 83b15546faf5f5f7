"""The tables of a report for a README."""

from collections.abc import Sequence

from lorair.benchmarks.report.content import Section, Table


def render(sections: Sequence[Section]) -> str:
    """The summary tables of all sections, in their order, each under its caption."""
    tables = [table for section in sections for part in section.walk() for table in part.summary]
    return "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    head = [column.lstrip(">") for column in table.columns]
    rule = ["---:" if column.startswith(">") else "---" for column in table.columns]
    lines = [_line(head), _line(rule, escape=False)]
    lines += [_line([cell.text for cell in row]) for row in table.rows]
    return f"{_escape(table.caption)}:\n\n" + "\n".join(lines) + "\n"


def _line(cells: Sequence[str], escape: bool = True) -> str:
    return "| " + " | ".join(_escape(c) if escape else c for c in cells) + " |"


def _escape(text: str) -> str:
    """As text, whatever it holds: no markup, no HTML, no end of the cell."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|":
        plain = plain.replace(character, f"\\{character}")
    return plain
