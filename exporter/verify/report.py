"""What a verification found: as data, as JSON, and printed in sentences and tables."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from lorair.exporter.verify.compare import Compared, Violation
from lorair.exporter.verify.ranges import FLOAT16_MAX, MARGIN, Range
from lorair.exporter.verify.search import Bisection, Difference
from lorair.runtime.system import console

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION: Final = 1

GREY_LEVELS: Final = 255

_SHOWN: Final = 10
"""Nodes of a table of ranges."""


@dataclass(frozen=True)
class Verdict:
    """What was found of one backend.

    violation: the first limit that is broken; None if it passed.
    searches: of each branch that was searched. notes: why one was not.
    """

    name: str
    description: str
    limits: dict[str, float]
    pictures: tuple[Compared, ...]
    violation: Violation | None
    searches: tuple[Bisection, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "description": self.description,
            "limits": self.limits,
            "passed": self.violation is None,
            "violation": None if self.violation is None else asdict(self.violation),
            "pictures": [_picture(one) for one in self.pictures],
            "searches": [_search(one) for one in self.searches],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Report:
    """What was found of a bundle. ranges: the largest first; None if not asked for."""

    bundle: str
    precision: str
    reference: str
    verdicts: tuple[Verdict, ...]
    ranges: tuple[Range, ...] | None

    @property
    def overflows(self) -> list[Range]:
        """Of an fp16 bundle: nodes whose values float16 cannot hold, in the network's order."""
        if self.precision != "fp16":
            return []
        beyond = [one for one in self.ranges or () if one.overflows]
        return sorted(beyond, key=lambda one: (one.branch == "restorer", one.position))

    @property
    def passed(self) -> bool:
        """Whether every backend is within its limits, and no value overflows."""
        return not self.overflows and all(v.violation is None for v in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values as docs/verify.md describes them."""
        ranges = None
        if self.ranges is not None:
            nodes = [one.to_dict() for one in self.ranges]
            ranges = {"end": FLOAT16_MAX, "margin": MARGIN, "nodes": nodes}
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "verify",
            "bundle": self.bundle,
            "precision": self.precision,
            "reference": self.reference,
            "passed": self.passed,
            "backends": [verdict.to_dict() for verdict in self.verdicts],
            "ranges": ranges,
        }


def explain(search: Bisection) -> str:
    """Return what a search found, in one sentence."""
    bad, wrong = search.first_not_finite_in_reference, search.first_not_finite
    first = search.first

    def place(step: Difference) -> str:
        return f"{search.branch}, {step.node}, on {search.picture}"

    if bad is not None:
        return f"{place(bad)}: not finite in the reference either; look at the weights"
    if wrong is not None:
        return (
            f"{place(wrong)}: the first value that is not finite, though all before it are; "
            f"in the reference it reaches {wrong.largest:.4g}{_end(wrong)}"
        )
    if first is not None:
        return (
            f"{place(first)}: the first value that differs, by {first.error:.2g} of its "
            f"largest magnitude (tolerance {search.tolerance:g})"
        )
    largest = max(search.steps, key=lambda step: step.error or 0)
    if not largest.error:
        return f"{search.branch}: the same in every value"
    return (
        f"{search.branch}: no single node; the largest difference is {largest.error:.2g}, at "
        f"{largest.node} (tolerance {search.tolerance:g})"
    )


def _end(step: Difference) -> str:
    is_beyond = step.largest is not None and step.largest > FLOAT16_MAX
    return f", float16 ends at {FLOAT16_MAX:.0f}: build with --fp32" if is_beyond else ""


def _picture(one: Compared) -> dict[str, Any]:
    steps = one.parity.restored_error * GREY_LEVELS if one.is_finite else None
    return {
        **one.parity.model_dump(mode="json"),
        "error_steps": steps,
        "prior_cosine": one.prior_cosine,
        "finite": one.is_finite,
    }


def _search(search: Bisection) -> dict[str, Any]:
    def name(step: Difference | None) -> str | None:
        return None if step is None else step.node

    return {
        "branch": search.branch,
        "picture": search.picture,
        "tolerance": search.tolerance,
        "first": name(search.first),
        "first_not_finite": name(search.first_not_finite),
        "reference_not_finite": name(search.first_not_finite_in_reference),
        "summary": explain(search),
        "blocks": [asdict(block) for block in search.blocks],
        "values": [asdict(step) for step in search.steps],
    }


def print_report(report: Report) -> None:
    """Print a line for each backend and each finding, then the tables behind them."""
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
