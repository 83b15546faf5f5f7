"""Find the configuration that meets a time budget, or comes closest."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lorair.benchmarks.quality.metrics import Plane, psnr
from lorair.benchmarks.schema.latency import Configuration
from lorair.benchmarks.timing.latency import TOTAL, Session, write_photograph
from lorair.benchmarks.timing.runner import ProcessRunner, Spec
from lorair.runtime import images
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import OptionError

REFERENCE = "onnxruntime"


def check_budget(
    budget_ms: float | None, min_psnr: float | None, bundles: dict[str, Bundle]
) -> None:
    """Raise OptionError if a quality limit has no budget, or no reference."""
    if min_psnr is None:
        return
    if budget_ms is None:
        raise OptionError("--min-psnr", wanted="--budget-ms beside it", found="none")
    _reference(bundles)


def measure_psnr(session: Session, bundles: dict[str, Bundle]) -> None:
    """Measure the PSNR of each configuration's 8-bit picture, into `session`.

    The reference is the first fp32 bundle on ONNX Runtime.
    """
    with TemporaryDirectory() as folder, ProcessRunner(_reference(bundles)) as reference:
        wanted, found = Path(folder) / "wanted.png", Path(folder) / "found.png"
        for one in session.series:
            source = write_photograph(one.size, Path(folder))
            reference.run(source, wanted)
            with one.fresh() as runner:
                runner.run(source, found)
            one.psnr_db = psnr(_pixels(found), _pixels(wanted))


def verdicts(
    configurations: Sequence[Configuration], budget: float, min_psnr: float | None
) -> dict[str, tuple[bool, str]]:
    """Return for each size whether its budget is met, and a sentence about the best one.

    budget: seconds that the p90 of the whole may take. min_psnr: in dB; None for any quality.
    """
    return {
        size: _verdict([c for c in configurations if c.size == size], budget, min_psnr)
        for size in dict.fromkeys(c.size for c in configurations)
    }


def _verdict(
    configurations: Sequence[Configuration], budget: float, min_psnr: float | None
) -> tuple[bool, str]:
    good = [c for c in configurations if min_psnr is None or (c.psnr_db or 0.0) >= min_psnr]
    if good:
        best = min(good, key=_p90)
        met = _p90(best) <= budget
        lacking = "" if met else f", {(_p90(best) - budget) * 1e3:.1f} ms too slow"
    else:
        best, met = max(configurations, key=lambda c: c.psnr_db or 0.0), False
        lacking = f", {(min_psnr or 0.0) - (best.psnr_db or 0.0):.1f} dB short of {min_psnr:g} dB"
    judged = "within the budget" if met else "misses the budget"
    name = f"{best.shape}: {judged} of {budget * 1e3:g} ms: {best.bundle}, {best.backend}"
    return met, f"{name}, p90 {_p90(best) * 1e3:.1f} ms{lacking}"


def _p90(configuration: Configuration) -> float:
    return configuration.summary[TOTAL].p90


def _reference(bundles: dict[str, Bundle]) -> Spec:
    for bundle in bundles.values():
        if bundle.manifest.precisions == "fp32":
            return Spec(bundle.path, REFERENCE)
    raise OptionError(
        "--min-psnr",
        wanted="an fp32 bundle, whose pictures are the reference",
        found=", ".join(b.manifest.precisions for b in bundles.values()),
        hint="name one with --bundle as well",
    )


def _pixels(path: Path) -> Plane:
    return images.read(path).pixels.astype(np.float64)
