"""What changed between two timed things, and whether it is more than noise.

On a busy machine the speed of two separate runs differs by far more than what is looked
for; of two processes that take turns, by little. So pairs of one round are compared where
both were timed in one run, and each one's ratio to the yardstick where both runs had the
same. Every quantity is the logarithm of a ratio of durations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from lorair.benchmarks.compare.estimates import Beside, Estimate, Method, Pair, estimates
from lorair.benchmarks.schema import Configuration, LatencyReport
from lorair.runtime.errors import ResultError

Verdict = Literal["slower", "faster", "equal"]

SIGNIFICANCE: Final = 0.05
LEAST_ROUNDS: Final = 8

ON_GPUS: Final = ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx")
"""Backends whose time is not the CPU's, so that the yardstick says nothing of it."""


@dataclass(frozen=True)
class Change:
    """One stage of one configuration.

    method: how it was found out. before, after: medians in seconds. ratio: estimated after /
    before, of the pairs or against the yardstick where there are such. low, high: its 95 %
    interval. p: two-sided, corrected for the other totals or judged stages (Holm). judged:
    whether it counts.
    """

    name: str
    stage: str
    method: Method
    before: float
    after: float
    ratio: float
    low: float
    high: float
    p: float
    judged: bool
    verdict: Verdict


def compare_bundles(report: LatencyReport, limit: float) -> list[Change]:
    """Every other bundle of a run against its first, round by round.

    Args:
        report: a run of at least two bundles.
        limit: the change that matters, 0.05 for 5 %.

    Raises:
        ResultError: one bundle only, or too few rounds.
    """
    labels = [bundle.label for bundle in report.bundles]
    found = {(c.bundle, c.backend, c.shape): c for c in report.configurations}
    pairs = [
        Pair(f"{label}, {a.backend} {a.shape}", a, found[label, a.backend, a.shape], "rounds")
        for label in labels[1:]
        for a in report.configurations
        if a.bundle == labels[0] and (label, a.backend, a.shape) in found
    ]
    return _judge(_common(pairs), limit)


def compare_reports(before: LatencyReport, after: LatencyReport, limit: float) -> list[Change]:
    """Configurations of the same backend, size and batch in two separate runs.

    With several bundles in a run their labels must agree as well. Where both runs timed the
    same yardstick, what is compared is the ratio to it.

    Raises:
        ResultError: nothing in common, or too few rounds.
    """
    several = max(len(before.bundles), len(after.bundles)) > 1
    found = {_key(c, several): c for c in after.configurations}
    beside = _yardsticks(before, after)
    threads = before.yardstick.threads if before.yardstick else 1
    pairs = [
        _separate_pair(Pair(" ".join(key), c, found[key], "runs"), beside.get(c.size), threads)
        for c in before.configurations
        if (key := _key(c, several)) in found
    ]
    return _judge(_common(pairs), limit)


def yardstick_obstacle(before: LatencyReport, after: LatencyReport) -> str | None:
    """Why two runs cannot be compared by their yardsticks; None if they can."""
    first, second = before.yardstick, after.yardstick
    if first is None or second is None:
        return "a run without a yardstick"
    if before.environment.cpu != after.environment.cpu:
        return "runs on different processors"
    if first.is_same(second):
        return None
    fields = ("name", "version", "threads", "versions")
    other = (f for f in fields if getattr(first, f) != getattr(second, f))
    return f"yardsticks of different {', '.join(other)}"


def _key(c: Configuration, several: bool) -> tuple[str, ...]:
    return (f"{c.bundle},", c.backend, c.shape) if several else (c.backend, c.shape)


def _yardsticks(before: LatencyReport, after: LatencyReport) -> dict[str, Beside]:
    """By size; empty if the runs cannot be compared by them."""
    if yardstick_obstacle(before, after) or not (before.yardstick and after.yardstick):
        return {}
    second = {one.size: one for one in after.yardstick.sizes}
    return {
        one.size: (one, second[one.size])
        for one in before.yardstick.sizes
        if one.size in second and min(len(one.total), len(second[one.size].total)) >= LEAST_ROUNDS
    }


def _separate_pair(pair: Pair, beside: Beside | None, threads: int) -> Pair:
    if beside is None or pair.a.backend in ON_GPUS:
        return pair
    return replace(pair, method="yardstick", beside=beside, threads=threads)


def _common(pairs: Sequence[Pair]) -> Sequence[Pair]:
    if not pairs:
        raise ResultError(
            "nothing to compare",
            wanted="the same backend, size and batch twice",
            found="none",
            hint="name two results, or one whose run had two bundles",
        )
    for pair in pairs:
        fewest = min(c.rounds - c.warmup for c in (pair.a, pair.b))
        if fewest < LEAST_ROUNDS:
            raise ResultError(
                f"too few rounds of {pair.name}",
                wanted=f"at least {LEAST_ROUNDS} after the warm-up",
                found=str(fewest),
                hint="measure with more --iterations; 100 or more on a busy machine",
            )
    return pairs


def _judge(pairs: Sequence[Pair], limit: float) -> list[Change]:
    """The totals are the question, and corrected among themselves; the stages tell where."""
    found = [e for pair in pairs for e in estimates(pair)]
    totals = iter(holm([e.p for e in found if e.judged and e.is_whole]))
    stages = iter(holm([e.p for e in found if e.judged and not e.is_whole]))
    return [
        _change(e, next(totals if e.is_whole else stages) if e.judged else e.p, limit)
        for e in found
    ]


def _change(e: Estimate, p: float, limit: float) -> Change:
    verdict: Verdict = "equal"
    # Faster by the limit is what makes the other slower by it.
    if p < SIGNIFICANCE and abs(e.log) > math.log1p(limit):
        verdict = "slower" if e.log > 0 else "faster"
    low, high = (math.exp(e.log + side * 1.96 * e.error) for side in (-1, 1))
    return Change(
        e.name, e.stage, e.method, e.before, e.after,
        math.exp(e.log), low, high, p, e.judged, verdict,
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values of which any below 0.05 is, together with 5 % at most, wrong."""
    out, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values)):
        least = max(least, min(1.0, p_values[i] * (len(p_values) - rank)))
        out[i] = least
    return out
