"""Summarise a series of timings. Durations are in seconds.

No sample is dropped because it looks wrong: users meet slow runs as well. Only the warm-up is
left out, and it is detected, not guessed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lorair.benchmarks.schema.latency import Interval, Summary

Array = npt.NDArray[np.float64]

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000
SPREAD: Final = 5.0
"""A sample farther from the median than so many median absolute deviations is an outlier. For a
normal distribution that is 3.4 standard deviations, one sample of 1300."""

WARMUP_ROUNDS: Final = 8
"""With fewer samples none is called warm-up: half of them would say nothing of the spread."""

_LEAST_SPREAD: Final = 0.01
"""Of the median: what `SPREAD` deviations are at least. Clocks are never better than that,
and a series without any spread would call everything else an outlier."""


def summarize(samples: Sequence[float], warmup: int = 0) -> Summary:
    """Return the percentiles, the median's interval and the outliers of what follows the warm-up.

    samples: at least `warmup` + 1 durations, in the order they were taken.
    """
    settled = np.asarray(samples[warmup:], float)
    p50, p90, p99 = np.percentile(settled, [50, 90, 99])
    low, high = median_interval(settled)
    return Summary(
        count=len(settled),
        p50=float(p50),
        interval=Interval(low=low, high=high, confidence=CONFIDENCE),
        p90=float(p90),
        p99=float(p99),
        min=float(settled.min()),
        outliers=tuple(int(i) + warmup for i in np.flatnonzero(is_far(settled, settled))),
    )


def summarize_all(stages: Mapping[str, Sequence[float]], warmup: int = 0) -> dict[str, Summary]:
    """Summarise each stage that has samples after the warm-up."""
    return {
        stage: summarize(samples, warmup)
        for stage, samples in stages.items()
        if len(samples) > warmup
    }


def median_interval(samples: Sequence[float] | Array) -> tuple[float, float]:
    """Return the 95 % interval of the median by a percentile bootstrap with a fixed seed.

    Of fewer than six samples the interval is all of them: so few cannot enclose the median
    with 95 %, whatever is done to them (2 · 0.5**n is above 5 %).
    """
    values = np.asarray(samples, float)
    if len(values) < 6:
        return float(values.min()), float(values.max())
    positions = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    medians = np.median(values[positions], axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)


class Estimate(NamedTuple):
    """A median and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Estimate":
        """Return the median of samples with its interval."""
        return cls(float(np.median(samples)), *median_interval(samples))


def is_far(
    values: Sequence[float] | Array, settled: Sequence[float] | Array
) -> npt.NDArray[np.bool_]:
    """Return which values are farther than 5 deviations (MAD) from the median of `settled`."""
    center = np.median(settled)
    deviation = np.median(np.abs(np.asarray(settled, float) - center))
    far: npt.NDArray[np.bool_] = np.abs(np.asarray(values, float) - center) > max(
        SPREAD * deviation, _LEAST_SPREAD * center
    )
    return far


def count_warmup(samples: Sequence[float]) -> int:
    """Return how many of the first samples are warm-up.

    The second half of the series says what is normal. Samples from the first on that lie
    outside of its spread, without a gap, are warm-up: faster ones too, as before a GPU or a
    processor throttles. At most a quarter of the series is; one that is outside for longer
    has changed its level, and nothing of it is left out.
    """
    if len(samples) < WARMUP_ROUNDS:
        return 0
    far = is_far(samples, samples[len(samples) // 2 :])
    leading = int(np.argmin(far)) if not far.all() else len(samples)
    return leading if leading <= len(samples) // 4 else 0


def bootstrap_medians(values: Array) -> Array:
    """Return the medians of 500 resampled series in which neighbours stay together.

    A slow spell hits neighbours alike, so they are not independent; blocks of about the
    square root of the series are drawn, beginning anywhere and wrapping around its end.
    """
    count = len(values)
    length = max(1, round(math.sqrt(count)))
    starts = np.random.default_rng(0).integers(0, count, (500, -(-count // length)))
    positions = (starts[:, :, None] + np.arange(length)).reshape(len(starts), -1) % count
    medians: Array = np.median(values[positions[:, :count]], axis=1)
    return medians
