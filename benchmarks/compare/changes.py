"""What differs between two bundles that were timed in one run, and whether it is more than noise.

Processes that take turns within each round meet the same load, so what is compared is the
ratio of the two durations of each round. Every quantity is the logarithm of such a ratio.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from lorair.benchmarks.schema.latency import Configuration, LatencyReport
from lorair.benchmarks.schema.statistics import bootstrap_medians
from lorair.benchmarks.timing.latency import CPU, STAGES, TOTAL
from lorair.runtime.errors import ResultError

Verdict = Literal["slower", "faster", "equal"]

SIGNIFICANCE: Final = 0.05
LEAST_ROUNDS: Final = 8

JUDGED_SHARE: Final = 0.05
"""A stage below this share of the total is shown, not judged: decoding twice as slowly is no
news if it takes a hundredth."""

TOTAL_NOISE: Final = 0.03
STAGE_NOISE: Final = 0.05
"""Standard deviations between equal processes that more rounds do not average out (where
memory lies, for example). Measured over 40 runs of three equal processes of the tiny model
at a load of 5 to 9 on two cores: a stage of a process was slower by up to 10 % throughout a
run, the two halves of which agreed in that; the totals of equal processes did not."""


@dataclass(frozen=True)
class Change:
    """One stage of one configuration.

    before, after: medians in seconds. log, error: the logarithm of the estimated ratio
    after / before, and its standard error. p: two-sided, corrected for the other totals or
    the other judged stages (Holm). judged: whether the stage counts.
    """

    name: str
    stage: str
    before: float
    after: float
    log: float
    error: float
    p: float
    judged: bool
    verdict: Verdict = "equal"

    @property
    def ratio(self) -> float:
        """Return the estimated after / before."""
        return math.exp(self.log)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the ratio."""
        return math.exp(self.log - 1.96 * self.error), math.exp(self.log + 1.96 * self.error)


def compare_bundles(report: LatencyReport, limit: float) -> list[Change]:
    """Compare every other bundle of a run with its first, round by round.

    limit: the change that matters, 0.05 for 5 %. Raises ResultError: the run has one bundle only,
    or too few rounds.
    """
    changes = [c for name, a, b in _pairs(report) for c in _changes(name, a, b)]
    totals = iter(holm([c.p for c in changes if c.judged and c.stage == TOTAL]))
    stages = iter(holm([c.p for c in changes if c.judged and c.stage != TOTAL]))
    return [
        _judged(c, next(totals if c.stage == TOTAL else stages) if c.judged else c.p, limit)
        for c in changes
    ]


def _pairs(report: LatencyReport) -> list[tuple[str, Configuration, Configuration]]:
    """Name, configuration of the first bundle, and the same one of another bundle."""
    labels = [bundle.label for bundle in report.bundles]
    found = {(c.bundle, c.backend, c.shape): c for c in report.configurations}
    pairs = [
        (f"{label}, {a.backend} {a.shape}", a, found[label, a.backend, a.shape])
        for label in labels[1:]
        for a in report.configurations
        if a.bundle == labels[0] and (label, a.backend, a.shape) in found
    ]
    if not pairs:
        raise ResultError(
            "nothing to compare",
            wanted="two bundles, timed with the same backend, size and batch",
            found="none",
            hint="time both in one run: lorair-bench latency --bundle OLD --bundle NEW",
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


def _changes(name: str, a: Configuration, b: Configuration) -> Iterator[Change]:
    """Every stage that both have, the total and the CPU time; no verdict yet."""
    skip, end = max(a.warmup, b.warmup), min(a.rounds, b.rounds)
    for stage in (*STAGES, TOTAL, CPU):
        if stage not in a.samples or stage not in b.samples:
            continue
        x, y = (np.array(c.samples[stage]) for c in (a, b))
        if min(x.min(), y.min()) <= 0:  # a stage that did not run in every round
            continue
        logs = np.log(y[skip:end] / x[skip:end])
        noise = TOTAL_NOISE if stage == TOTAL else STAGE_NOISE
        log, error = float(np.median(logs)), math.hypot(bootstrap_medians(logs).std(), noise)
        share = a.summary[stage].p50 / a.summary[TOTAL].p50
        yield Change(
            name, stage, float(np.median(x[a.warmup :])), float(np.median(y[b.warmup :])),
            log, error,
            p=math.erfc(abs(log) / error / math.sqrt(2)),  # medians are nearly normal
            judged=stage == TOTAL or (stage != CPU and share >= JUDGED_SHARE),
        )  # fmt: skip


def _judged(change: Change, p: float, limit: float) -> Change:
    verdict: Verdict = "equal"
    # Faster by the limit is what makes the other slower by it.
    if p < SIGNIFICANCE and abs(change.log) > math.log1p(limit):
        verdict = "slower" if change.log > 0 else "faster"
    return replace(change, p=p, verdict=verdict)


def visible_slowdown(change: Change, limit: float) -> float:
    """Return the slowdown that `equal` excludes, seen nine times in ten: 0.1 stands for 10 %."""
    # 1.96: significance of a single total; 1.28: nine times in ten.
    least = max(1.96 * change.error, math.log1p(limit))
    return math.expm1(least + 1.28 * change.error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected by Holm.

    Of all that are below 0.05 afterwards any is wrong with a probability of at most 5 %.
    """
    out, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values)):
        least = max(least, min(1.0, p_values[i] * (len(p_values) - rank)))
        out[i] = least
    return out
