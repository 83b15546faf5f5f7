"""PSNR and SSIM as image restoration reports them, on RGB and on luma.

Values are 8-bit ones (data range 255) in float64. Y is BT.601's studio-swing luma, 16 to
235, not rounded, as MATLAB's and BasicSR's `test_y_channel` have it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from lorair.benchmarks.schema import Means
from lorair.runtime import images
from lorair.runtime.errors import OptionError, PictureError
from lorair.runtime.restorer import Restorer

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

PEAK: Final = 255.0
EQUAL_DB: Final = 100.0
"""Stands for the PSNR of equal pictures: JSON has no infinity, and a mean needs a number."""

_WINDOW: Final = 11
_SIGMA: Final = 1.5


@dataclass(frozen=True)
class Scores:
    """One picture against its target. psnr, psnr_y in dB; ssim, ssim_y at most 1."""

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


METRICS: Final = tuple(Scores.__dataclass_fields__)


@dataclass(frozen=True)
class Result:
    """One picture: how near the target it was before and after, and its route."""

    name: str
    width: int
    height: int
    route: str
    before: Scores
    after: Scores


def score(pixels: Pixels, target: Pixels) -> Scores:
    """Compare a picture with its target.

    Args:
        pixels: (H, W, 3) uint8 RGB, sides of at least 11.
        target: the same shape.
    """
    a, b = pixels.astype(np.float64), target.astype(np.float64)
    luma_a, luma_b = luma(a), luma(b)
    return Scores(
        psnr=psnr(a, b),
        ssim=float(np.mean([ssim(a[..., c], b[..., c]) for c in range(3)])),
        psnr_y=psnr(luma_a, luma_b),
        ssim_y=ssim(luma_a, luma_b),
    )


def psnr(a: Plane, b: Plane) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 255, over all values together."""
    error = float(np.mean(np.square(a - b)))
    return EQUAL_DB if error == 0 else min(EQUAL_DB, float(10 * np.log10(PEAK**2 / error)))


def luma(rgb: Plane) -> Plane:
    """(H, W, 3) RGB in [0, 255] -> (H, W) in [16, 235]: ITU-R BT.601, studio swing."""
    weights = np.array([65.481, 128.553, 24.966])
    y: Plane = rgb @ (weights / PEAK) + 16
    return y


def ssim(a: Plane, b: Plane) -> float:
    """Structural similarity of two (H, W) planes in [0, 255].

    Wang, Bovik, Sheikh, Simoncelli 2004: Gaussian window 11x11 with sigma 1.5, K = 0.01 and
    0.03, population moments, mean over the places where the window lies inside.
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    variance_a = _window_mean(a * a) - mean_a**2
    variance_b = _window_mean(b * b) - mean_b**2
    covariance = _window_mean(a * b) - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return float(similarity.mean())


def _window_mean(plane: Plane) -> Plane:
    """Gaussian-weighted mean around each place, (H, W) -> (H - 10, W - 10)."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    height, width = (side - _WINDOW + 1 for side in plane.shape)
    rows = sum(w * plane[i : i + height] for i, w in enumerate(weights))
    mean: Plane = sum(w * rows[:, i : i + width] for i, w in enumerate(weights))
    return mean


def find_pairs(inputs: Path, targets: Path) -> list[tuple[Path, Path]]:
    """Every picture of one folder with the one of the same name, whatever its ending.

    Raises:
        OptionError: no pictures, or one without a target.
    """
    sources, wanted = _pictures(inputs, "--input"), _pictures(targets, "--target")
    by_stem = {path.stem: path for path in wanted}
    alone = [path.name for path in sources if path.stem not in by_stem]
    if alone:
        raise OptionError(
            "--target",
            wanted=f"a picture for each in {inputs}",
            found=f"none for {', '.join(alone[:3])}{' …' if len(alone) > 3 else ''}",
            hint="a picture and its target have the same name",
        )
    return [(path, by_stem[path.stem]) for path in sources]


def evaluate(
    restorer: Restorer,
    pairs: Sequence[tuple[Path, Path]],
    on_picture: Callable[[], None] = lambda: None,
) -> Iterator[Result]:
    """Restore and score each picture.

    Args:
        restorer: what restores.
        pairs: from `find_pairs`.
        on_picture: called after each.

    Raises:
        PictureError: a picture that cannot be read, or whose target has another size.
    """
    for source, target in pairs:
        degraded, clean = (images.to_uint8(images.read(f).pixels) for f in (source, target))
        _check_sizes(source, degraded, clean)
        restored = restorer.restore(degraded)
        height, width = clean.shape[:2]
        yield Result(
            source.stem,
            width,
            height,
            restored.route.top,
            score(degraded, clean),
            score(restored.image.astype(np.uint8), clean),
        )
        on_picture()


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each number; of PSNR too, as the field does."""
    return Scores(**{m: float(np.mean([getattr(s, m) for s in scores])) for m in METRICS})


def means(results: Sequence[Result]) -> Means | None:
    """Over all pictures; None without any."""
    if not results:
        return None
    before = mean_scores([r.before for r in results])
    after = mean_scores([r.after for r in results])
    return Means.model_validate({"before": asdict(before), "after": asdict(after)})


def _pictures(folder: Path, option: str) -> list[Path]:
    found = []
    if folder.is_dir():
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in images.WRITABLE)
    if not found:
        raise OptionError(
            option,
            wanted=f"a folder with pictures ({', '.join(images.WRITABLE)})",
            found=f"none in {folder}",
        )
    return found


def _check_sizes(source: Path, degraded: Pixels, clean: Pixels) -> None:
    height, width = degraded.shape[:2]
    if degraded.shape != clean.shape:
        raise PictureError(
            f"cannot compare {source} with its target",
            wanted=f"the same size, {width}x{height}",
            found=f"{clean.shape[1]}x{clean.shape[0]}",
        )
    if min(height, width) < _WINDOW:
        raise PictureError(
            f"cannot compare {source} with its target",
            wanted=f"sides of at least {_WINDOW} pixels, SSIM's window",
            found=f"{width}x{height}",
        )
