"""By how much one stage of two configurations differs, and how sure that is.

Three ways, the surest first: pairs of one round, where both were timed in one run; ratios to
the yardstick, where two runs had the same; medians of separate runs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from lorair.benchmarks.schema import Configuration
from lorair.benchmarks.schema.parts import YardstickSize
from lorair.benchmarks.schema.statistics import (
    Array,
    block_medians,
    bootstrap_medians,
    count_warmup,
)
from lorair.benchmarks.timing.latency import CPU, STAGES, TOTAL

Method = Literal["rounds", "yardstick", "runs"]
"""Pairs of one round; ratios to a yardstick in separate runs; medians of separate runs."""

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

YARDSTICK_TOTAL_NOISE: Final = 0.10
YARDSTICK_CPU_NOISE: Final = 0.025
YARDSTICK_THREADS_NOISE: Final = 0.04
"""By how much two separate runs' ratios to the yardstick differ (standard deviation) beyond
what the rounds of each show: the total, CPU time on one thread, on several. Measured over 20
runs of the tiny model on one thread at a load of 4 to 7 on two cores: 0.102 and 0.022; over 11
on two threads at a load of 6 to 10: 0.038 for CPU time, as threads that wait for others spin.
Waiting for a core hits two processes differently; the CPU time that each takes, hardly."""

Beside = tuple[YardstickSize, YardstickSize]
"""The yardstick in each run."""


@dataclass(frozen=True)
class Pair:
    """Two configurations of one thing. beside, threads: the yardstick's."""

    name: str
    a: Configuration
    b: Configuration
    method: Method
    beside: Beside | None = None
    threads: int = 1


@dataclass(frozen=True)
class Estimate:
    """Logarithm of the ratio, and its standard error."""

    name: str
    stage: str
    method: Method
    before: float
    after: float
    log: float
    error: float
    judged: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is of the whole run."""
        return self.stage in (TOTAL, CPU)

    @property
    def p(self) -> float:
        """Of a change by chance, two-sided; the medians' distribution is near normal."""
        return math.erfc(abs(self.log) / self.error / math.sqrt(2))


def estimates(pair: Pair) -> Iterator[Estimate]:
    """Of every stage that both have, the total and the CPU time."""
    for stage in (*STAGES, TOTAL, CPU):
        if stage not in pair.a.samples or stage not in pair.b.samples:
            continue
        x, y = (np.array(c.samples[stage]) for c in (pair.a, pair.b))
        if min(x.min(), y.min()) <= 0:  # a stage that did not run in every round
            continue
        log, error = _METHODS[pair.method](pair, stage, x, y)
        medians = float(np.median(x[pair.a.warmup :])), float(np.median(y[pair.b.warmup :]))
        yield Estimate(pair.name, stage, pair.method, *medians, log, error, _is_judged(pair, stage))


def _is_judged(pair: Pair, stage: str) -> bool:
    """By a yardstick CPU time is judged as well, and no stage: there is no yardstick for it."""
    if pair.method == "yardstick":
        return stage in (TOTAL, CPU)
    share = pair.a.summary[stage].p50 / pair.a.summary[TOTAL].p50
    return stage == TOTAL or (stage != CPU and share >= JUDGED_SHARE)


def _by_rounds(pair: Pair, stage: str, x: Array, y: Array) -> tuple[float, float]:
    skip, end = max(pair.a.warmup, pair.b.warmup), min(len(x), len(y))
    log, error = _median(np.log(y[skip:end] / x[skip:end]))
    return log, math.hypot(error, TOTAL_NOISE if stage == TOTAL else STAGE_NOISE)


def _by_yardstick(pair: Pair, stage: str, x: Array, y: Array) -> tuple[float, float]:
    """CPU time is compared with the yardstick's, everything else with its duration."""
    assert pair.beside is not None
    clock = CPU if stage == CPU else TOTAL
    before, after = (np.array(y.cpu if clock == CPU else y.total) for y in pair.beside)
    first, first_error = _median(_ratios(x, before, pair.a.warmup))
    second, second_error = _median(_ratios(y, after, pair.b.warmup))
    noise = YARDSTICK_TOTAL_NOISE
    if clock == CPU:
        noise = YARDSTICK_CPU_NOISE if pair.threads == 1 else YARDSTICK_THREADS_NOISE
    return second - first, math.hypot(first_error, second_error, noise)


def _by_runs(pair: Pair, stage: str, x: Array, y: Array) -> tuple[float, float]:
    """The blocks of a run stand for what another run might have met."""
    x, y = np.log(x[pair.a.warmup :]), np.log(y[pair.b.warmup :])
    errors = [float(block_medians(v).std(ddof=1)) for v in (x, y)]
    spread = RUN_NOISE * math.hypot(*errors)
    log = float(np.median(y) - np.median(x))
    return log, math.hypot(spread, TOTAL_NOISE if stage == TOTAL else STAGE_NOISE)


_METHODS: Final = {"rounds": _by_rounds, "yardstick": _by_yardstick, "runs": _by_runs}


def _ratios(samples: Array, beside: Array, warmup: int) -> Array:
    """Logarithms, round by round; an interrupted run may lack the last of one."""
    skip = max(warmup, count_warmup(list(beside)))
    end = min(len(samples), len(beside))
    logs: Array = np.log(samples[skip:end] / beside[skip:end])
    return logs


def _median(logs: Array) -> tuple[float, float]:
    """With its standard error."""
    return float(np.median(logs)), float(bootstrap_medians(logs).std())
