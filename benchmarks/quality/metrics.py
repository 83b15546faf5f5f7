"""PSNR and SSIM as image restoration reports them, on RGB and on luma.

Values are 8-bit ones (data range 255) in float64. Three protocols side by side: RGB; Y as
MATLAB's and BasicSR's `test_y_channel` have it; and what the authors' own script computes,
with which their published table was made.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from lorair.benchmarks.schema.quality import Scores
from lorair.exporter.verify import compare as verify

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

PEAK: Final = 255.0
WINDOW: Final = 11
_SIGMA: Final = 1.5
_LUMA: Final = (65.481, 128.553, 24.966)
METRICS: Final = tuple(Scores.model_fields)


def score(pixels: Pixels, target: Pixels) -> Scores:
    """Return how close a picture is to its target, (H, W, 3) uint8 RGB, sides of 11 or more."""
    a, b = pixels.astype(np.float64), target.astype(np.float64)
    luma_a, luma_b = luma(a), luma(b)
    # The script reads with OpenCV, whose channels are BGR, and weighs them as if they were RGB.
    theirs_a, theirs_b = luma(a[..., ::-1]), luma(b[..., ::-1])
    return Scores(
        psnr=psnr(a, b),
        ssim=float(np.mean([ssim(a[..., c], b[..., c]) for c in range(3)])),
        psnr_y=psnr(luma_a, luma_b),
        ssim_y=ssim(luma_a, luma_b),
        psnr_authors=psnr(theirs_a, theirs_b),
        ssim_authors=ssim_uniform(theirs_a, theirs_b),
    )


def psnr(a: Plane, b: Plane) -> float:
    """Return the peak signal-to-noise ratio in dB for a peak of 255; 160 for equal pictures."""
    return verify.psnr(a, b, PEAK)


def luma(rgb: Plane) -> Plane:
    """Return Y, (H, W) in [16, 235], of RGB, (H, W, 3) in [0, 255].

    ITU-R BT.601, studio swing, not rounded.
    """
    y: Plane = rgb @ (np.array(_LUMA) / PEAK) + 16
    return y


def ssim(a: Plane, b: Plane) -> float:
    """Return the structural similarity of two (H, W) planes in [0, 255].

    Wang, Bovik, Sheikh, Simoncelli 2004: Gaussian window 11x11 with sigma 1.5, K = 0.01 and
    0.03, population moments, mean over the places where the window lies inside.
    """
    return _similarity(a, b, _gaussian(), 1.0)


def ssim_uniform(a: Plane, b: Plane) -> float:
    """Return SSIM with a uniform window 11x11 and sample moments, scikit-image's default."""
    return _similarity(a, b, np.full(WINDOW, 1 / WINDOW), WINDOW**2 / (WINDOW**2 - 1))


def _similarity(a: Plane, b: Plane, window: Plane, correction: float) -> float:
    """SSIM with a separable window; correction: of the second moments."""
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _window_mean(a, window), _window_mean(b, window)
    variance_a = correction * (_window_mean(a * a, window) - mean_a**2)
    variance_b = correction * (_window_mean(b * b, window) - mean_b**2)
    covariance = correction * (_window_mean(a * b, window) - mean_a * mean_b)
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return float(similarity.mean())


def _gaussian() -> Plane:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    normalized: Plane = weights / weights.sum()
    return normalized


def _window_mean(plane: Plane, window: Plane) -> Plane:
    """Weighted mean around each place, (H, W) -> (H - 10, W - 10)."""
    height, width = (side - WINDOW + 1 for side in plane.shape)
    rows = sum(w * plane[i : i + height] for i, w in enumerate(window))
    mean: Plane = sum(w * rows[:, i : i + width] for i, w in enumerate(window))
    return mean


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Return the mean of each score; of PSNR in dB, as is usual in the field."""
    return Scores.model_validate({m: _mean([getattr(s, m) for s in scores]) for m in METRICS})


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
