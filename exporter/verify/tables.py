"""What `lorair-export verify` shows: a summary, then tables."""

from typing import TYPE_CHECKING

from lorair.exporter.verify.ranges import MARGIN, Range
from lorair.exporter.verify.report import GREY_LEVELS, Report, Verdict, explain
from lorair.exporter.verify.search import Bisection
from lorair.runtime.system import console

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 10


def print_report(report: Report) -> None:
    """A line for each backend and each finding, then the tables behind them."""
    out = console.stdout()
    out.print(f"{report.bundle} ({report.precision}) against {report.reference}", soft_wrap=True)
    for line in _summary(report):
        out.print(f"  {line}", soft_wrap=True)
    for verdict in report.verdicts:
        limits = ", ".join(f"{name} {value:g}" for name, value in verdict.limits.items())
        _print(f"{verdict.name}: {verdict.description}; limits: {limits}", _pictures(verdict))
        for search in verdict.searches:
            title = f"{verdict.name}, {search.branch} on {search.picture}: errors as parts of the"
            _print(f"{title} largest value, tolerance {search.tolerance:g}", _blocks(search))
    if report.ranges:
        count = f"{min(_SHOWN, len(report.ranges))} nodes of {len(report.ranges)}"
        _print(f"largest values in float32 arithmetic, the {count}", _ranges(report.ranges))


def _print(title: str, table: "Table") -> None:
    """The title apart: a table's own would be broken to the table's width."""
    console.stdout().print(f"\n{title}", soft_wrap=True)
    console.stdout().print(table)


def _summary(report: Report) -> list[str]:
    lines = []
    for verdict in report.verdicts:
        lines.append(f"{verdict.name:<14} {_conclusion(verdict)}")
        lines += [f"{'':<14} {text}" for text in verdict.notes]
        lines += [f"{'':<14} {explain(search)}" for search in verdict.searches]
    close = [one for one in report.ranges or () if one.is_close]
    if report.ranges is not None:
        lines.append(f"{'ranges':<14} {_margin(report, close)}")
    return lines


def _conclusion(verdict: Verdict) -> str:
    broken = verdict.violation
    if broken is not None:
        return (
            f"FAILED {broken.limit}: wanted {broken.wanted}, "
            f"found {broken.found} on {broken.picture}"
        )
    parities = [one.parity for one in verdict.pictures]
    return (
        f"passed: largest error {max(p.restored_error for p in parities):.1e}, "
        f"PSNR {min(p.psnr_db for p in parities):.1f} dB, routes the same"
    )


def _margin(report: Report, close: list[Range]) -> str:
    if not report.ranges:
        return "no value is float16"
    if report.overflows:
        first = report.overflows[0]
        return (
            f"OVERFLOW: {len(report.overflows)} nodes leave float16's range, first "
            f"{first.branch}, {first.node}: build with --fp32"
        )
    if close:
        return f"warning: {len(close)} nodes within a factor of {MARGIN:g} of float16's end"
    return f"all nodes at least a factor of {MARGIN:g} from float16's end"


def _pictures(verdict: Verdict) -> "Table":
    table = console.table(
        "picture", ">size", ">PSNR", ">error", ">in 1/255", ">prior cosine", "route"
    )
    for one in verdict.pictures:
        p = one.parity
        error = (f"{p.restored_error:.1e}", f"{p.restored_error * GREY_LEVELS:.3g}")
        table.add_row(
            p.name,
            f"{p.width}x{p.height}",
            f"{p.psnr_db:.1f} dB",
            *(error if one.is_finite else ("not finite", "")),
            f"{one.prior_cosine:.6f}",
            "changed" if p.route_changed else "same",
        )
    return table


def _blocks(search: Bisection) -> "Table":
    table = console.table("block", ">largest error", ">last error")
    for block in search.blocks:
        table.add_row(block.name, _number(block.largest_error), _number(block.last_error))
    return table


def _ranges(ranges: tuple[Range, ...]) -> "Table":
    table = console.table("branch", "node", ">largest", ">factor left", ">bits", "picture")
    table.columns[1].overflow = "fold"
    for one in ranges[:_SHOWN]:
        entry = one.to_dict()
        bits = "" if entry["bits"] is None else f"{entry['bits']:.1f}"
        table.add_row(
            one.branch, one.node, _number(one.largest), f"{one.factor or 0:.3g}", bits, one.picture
        )
    return table


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2g}"
