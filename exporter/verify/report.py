"""What a verification found, as data, as JSON and in sentences."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from lorair.exporter.verify.compare import Compared, Violation
from lorair.exporter.verify.ranges import FLOAT16_MAX, MARGIN, Range
from lorair.exporter.verify.search import Bisection, Step

SCHEMA_VERSION: Final = 1

GREY_LEVELS: Final = 255


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
        """As plain values."""
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
        """As docs/verify.md describes it."""
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
    """What a search found, in one sentence."""
    bad, wrong = search.first_not_finite_in_reference, search.first_not_finite
    first, place = search.first, partial(_place, search)
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


def _end(step: Step) -> str:
    is_beyond = step.largest is not None and step.largest > FLOAT16_MAX
    return f", float16 ends at {FLOAT16_MAX:.0f}: build with --fp32" if is_beyond else ""


def _place(search: Bisection, step: Step) -> str:
    return f"{search.branch}, {step.node}, on {search.picture}"


def _picture(one: Compared) -> dict[str, Any]:
    steps = one.parity.restored_error * GREY_LEVELS if one.is_finite else None
    return {
        **one.parity.model_dump(mode="json"),
        "error_steps": steps,
        "prior_cosine": one.prior_cosine,
        "finite": one.is_finite,
    }


def _search(search: Bisection) -> dict[str, Any]:
    def name(step: Step | None) -> str | None:
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
