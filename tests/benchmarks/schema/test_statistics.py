"""Statistics against SciPy, NumPy and series made to order."""

import numpy as np
import pytest
from scipy import stats

from lorair.benchmarks.schema.statistics import (
    bootstrap_medians,
    count_warmup,
    median_interval,
    summarize,
)


@pytest.fixture
def skewed() -> np.ndarray:
    return np.random.default_rng(3).lognormal(0, 0.3, 60)


def test_the_interval_is_scipy_s(skewed: np.ndarray) -> None:
    wanted = stats.bootstrap(
        (skewed,), np.median, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert median_interval(skewed) == pytest.approx((wanted.low, wanted.high), abs=0.03)
    assert median_interval(skewed) == median_interval(skewed)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).lognormal(0, 0.5, (200, 25))
    held = sum(low <= 1 <= high for low, high in map(median_interval, drawn))
    assert 180 <= held <= 199


def test_few_samples_have_their_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1, 3)
    assert median_interval([2.0]) == (2, 2)


def test_summary(skewed: np.ndarray) -> None:
    found = summarize(list(skewed))
    wanted = stats.scoreatpercentile(skewed, [50, 90, 99])
    assert (found.p50, found.p90, found.p99) == pytest.approx(wanted)
    assert (found.count, found.min) == (60, skewed.min())


def test_outliers_are_reported_and_kept() -> None:
    samples = [1.0, 1.1, 0.9, 1.05, 0.95, 9.0, 1.0, 1.02]
    found = summarize([50.0, *samples], warmup=1)
    assert found.outliers == (6,), "a position in all samples, the warm-up's included"
    assert found.count == 8
    assert found.p99 > 8
    mad = stats.median_abs_deviation(samples)
    assert abs(samples[3] - np.median(samples)) < 5 * mad < abs(9 - np.median(samples))


NOISE = list(np.random.default_rng(0).normal(1, 0.02, 40))


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (NOISE, 0),
        ([5.0, 3.0, 1.5, *NOISE], 3),
        ([0.5, 0.6, *NOISE], 2),
        ([1.0, 5.0, 3.0, *NOISE], 0),
        ([*[5.0] * 15, *NOISE[:25]], 0),
        ([9.0, *[1.0] * 20], 1),
        ([9.0, *[1.0] * 6], 0),
        ([], 0),
    ],
    ids=["none", "slow", "fast", "later", "level", "constant", "few", "empty"],
)
def test_warm_up(samples: list[float], wanted: int) -> None:
    assert count_warmup(samples) == wanted


def test_blocks_keep_neighbours_together() -> None:
    """Of a series in slow and fast spells the median is less certain than of the same shuffled."""
    rng = np.random.default_rng(0)
    spells = np.repeat(rng.normal(1, 0.2, 12), 12) + rng.normal(0, 0.01, 144)
    shuffled = rng.permutation(spells)
    assert bootstrap_medians(spells).std() > 1.5 * bootstrap_medians(shuffled).std()
    independent = stats.bootstrap((shuffled,), np.median, n_resamples=2000, rng=rng)
    assert bootstrap_medians(shuffled).std() == pytest.approx(independent.standard_error, rel=0.4)
