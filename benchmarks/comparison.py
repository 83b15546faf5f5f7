"""What changed between two timed things, and whether it is more than noise.

On a busy machine the speed of two separate runs differs by far more than what is looked
for; of two processes that take turns, by little. So pairs of one round are compared where
both were timed in one run. Every quantity is the logarithm of a ratio of durations.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from lorair.benchmarks.latency import CPU, STAGES, TOTAL
from lorair.benchmarks.schema import Configuration, LatencyReport
from lorair.benchmarks.statistics import Array, block_medians, bootstrap_medians
from lorair.runtime.errors import ResultError

Verdict = Literal["slower", "faster", "equal"]

SIGNIFICANCE: Final = 0.05
LEAST_ROUNDS: Final = 8
JUDGED_SHARE: Final = 0.05
"""Of the whole: stages below are shown, not judged. Decoding twice as slowly is no news if
it takes a hundredth."""

TOTAL_NOISE: Final = 0.03
STAGE_NOISE: Final = 0.05
"""Standard deviations between equal processes that more rounds do not average out (where
memory lies, for example). Measured over 40 runs of three equal processes of the tiny model
at a load of 5 to 9 on two cores: a stage of a process was slower by up to 10 % throughout a
run, the two halves of which agreed in that; the totals of equal processes did not."""

RUN_NOISE: Final = 3.0
"""Separate runs differ by more than a run's own blocks show, because load comes and goes in
minutes. Measured between those runs: with 1, 36 % of equal pairs would be called different,
with 2 9 %, with 3 3 %."""


@dataclass(frozen=True)
class Change:
    """One stage of one configuration.

    before, after: medians in seconds. ratio: estimated after / before, of the pairs where
    there are pairs. low, high: its 95 % interval. p: two-sided, corrected for the other
    totals or judged stages (Holm). judged: whether it counts.
    """

    name: str
    stage: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    p: float
    judged: bool
    verdict: Verdict


@dataclass(frozen=True)
class _Estimate:
    """Logarithm of the ratio, and its standard error."""

    name: str
    stage: str
    before: float
    after: float
    log: float
    error: float
    judged: bool

    @property
    def p(self) -> float:
        """Of a change by chance, two-sided; the medians' distribution is near normal."""
        return math.erfc(abs(self.log) / self.error / math.sqrt(2))


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
        (f"{label}, {a.backend} {a.shape}", a, found[label, a.backend, a.shape])
        for label in labels[1:]
        for a in report.configurations
        if a.bundle == labels[0] and (label, a.backend, a.shape) in found
    ]
    return _judge(_common(pairs), limit, paired=True)


def compare_reports(before: LatencyReport, after: LatencyReport, limit: float) -> list[Change]:
    """Configurations of the same backend, size and batch in two separate runs.

    With several bundles in a run their labels must agree as well.

    Raises:
        ResultError: nothing in common, or too few rounds.
    """
    several = max(len(before.bundles), len(after.bundles)) > 1
    found = {_key(c, several): c for c in after.configurations}
    pairs = [
        (" ".join(key), c, found[key])
        for c in before.configurations
        if (key := _key(c, several)) in found
    ]
    return _judge(_common(pairs), limit, paired=False)


def _key(c: Configuration, several: bool) -> tuple[str, ...]:
    return (f"{c.bundle},", c.backend, c.shape) if several else (c.backend, c.shape)


Pair = tuple[str, Configuration, Configuration]


def _common(pairs: Sequence[Pair]) -> Sequence[Pair]:
    if not pairs:
        raise ResultError(
            "nothing to compare",
            wanted="the same backend, size and batch twice",
            found="none",
            hint="name two results, or one whose run had two bundles",
        )
    for name, *both in pairs:
        fewest = min(c.rounds - c.warmup for c in both)
        if fewest < LEAST_ROUNDS:
            raise ResultError(
                f"too few rounds of {name}",
                wanted=f"at least {LEAST_ROUNDS} after the warm-up",
                found=str(fewest),
                hint="measure with more --iterations; 100 or more on a busy machine",
            )
    return pairs


def _judge(pairs: Sequence[Pair], limit: float, *, paired: bool) -> list[Change]:
    """The totals are the question, and corrected among themselves; the stages tell where."""
    estimates = [e for name, a, b in pairs for e in _estimates(name, a, b, paired)]
    totals = iter(holm([e.p for e in estimates if e.judged and e.stage == TOTAL]))
    stages = iter(holm([e.p for e in estimates if e.judged and e.stage != TOTAL]))
    return [
        _change(e, next(totals if e.stage == TOTAL else stages) if e.judged else e.p, limit)
        for e in estimates
    ]


def _estimates(name: str, a: Configuration, b: Configuration, paired: bool) -> Iterator[_Estimate]:
    skip, end = max(a.warmup, b.warmup), min(a.rounds, b.rounds)
    for stage in (*STAGES, TOTAL, CPU):
        if stage not in a.samples or stage not in b.samples:
            continue
        both = [np.array(c.samples[stage]) for c in (a, b)]
        x, y = (v[skip:end] for v in both) if paired else (both[0][a.warmup :], both[1][b.warmup :])
        if min(x.min(), y.min()) <= 0:  # a stage that did not run in every round
            continue
        log, error = _paired(x, y) if paired else _separate(x, y)
        share = a.summary[stage].p50 / a.summary[TOTAL].p50
        judged = stage == TOTAL or (stage != CPU and share >= JUDGED_SHARE)
        medians = float(np.median(x)), float(np.median(y))
        error = math.hypot(error, TOTAL_NOISE if stage == TOTAL else STAGE_NOISE)
        yield _Estimate(name, stage, *medians, log, error, judged)


def _paired(x: Array, y: Array) -> tuple[float, float]:
    logs = np.log(y / x)
    return float(np.median(logs)), float(bootstrap_medians(logs).std())


def _separate(x: Array, y: Array) -> tuple[float, float]:
    """The blocks of a run stand for what another run might have met."""
    x, y = np.log(x), np.log(y)
    errors = [float(block_medians(v).std(ddof=1)) for v in (x, y)]
    return float(np.median(y) - np.median(x)), RUN_NOISE * math.hypot(*errors)


def _change(e: _Estimate, p: float, limit: float) -> Change:
    verdict: Verdict = "equal"
    # Faster by the limit is what makes the other slower by it.
    if p < SIGNIFICANCE and abs(e.log) > math.log1p(limit):
        verdict = "slower" if e.log > 0 else "faster"
    low, high = (math.exp(e.log + side * 1.96 * e.error) for side in (-1, 1))
    return Change(
        e.name, e.stage, e.before, e.after, math.exp(e.log), low, high, p, e.judged, verdict
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values of which any below 0.05 is, together with 5 % at most, wrong."""
    out, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values)):
        least = max(least, min(1.0, p_values[i] * (len(p_values) - rank)))
        out[i] = least
    return out
