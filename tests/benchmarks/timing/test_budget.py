"""Which configuration a budget picks."""

import pytest
from results import configuration

from lorair.benchmarks.timing.budget import verdicts

FAST_BAD = configuration("bf16", total=[0.010] * 3, psnr_db=40.0)
SLOW_GOOD = configuration("fp32", total=[0.050] * 3, psnr_db=100.0)


@pytest.mark.parametrize(
    ("budget", "min_psnr", "met", "words"),
    [
        (0.020, None, True, "within the budget of 20 ms: b, bf16, p90 10.0 ms"),
        (0.060, 50, True, "within the budget of 60 ms: b, fp32, p90 50.0 ms"),
        (0.020, 50, False, "b, fp32, p90 50.0 ms, 30.0 ms too slow"),
        (0.005, None, False, "b, bf16, p90 10.0 ms, 5.0 ms too slow"),
        (0.020, 120, False, "b, fp32, p90 50.0 ms, 20.0 dB short of 120 dB"),
    ],
)
def test_the_fastest_that_is_good_enough(
    budget: float, min_psnr: float | None, met: bool, words: str
) -> None:
    found = verdicts([FAST_BAD, SLOW_GOOD], budget, min_psnr)
    assert found["32x32"][0] is met
    assert words in found["32x32"][1]


def test_each_size_has_a_verdict_by_its_p90() -> None:
    spiky = configuration("spiky", total=[0.010] * 8 + [0.100] * 2, height=64)
    found = verdicts([SLOW_GOOD, spiky], 0.06, None)
    assert [met for met, _ in found.values()] == [True, False]
