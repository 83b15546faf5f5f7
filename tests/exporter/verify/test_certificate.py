from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorair.exporter import photos
from lorair.exporter.build import build_bundle
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.verify.certificate import certify, make_references
from lorair.exporter.verify.compare import Limits, psnr
from lorair.runtime.bundle.manifest import Bundle, Certificate, Precision, Source
from lorair.runtime.errors import VerificationError
from lorair.runtime.pixels import Array

Check = Callable[..., Certificate]

SOURCE = Source(kind="synthetic", detail="for a test")


class PlantedError:
    """A backend that repeats the references, off by a known error."""

    name = description = "planted"
    load_router = load_restorer = lambda *_: None

    def __init__(self, pair: Pair, error: float, turn_route: bool = False) -> None:
        self.router, self.net = pair.modules()
        self.error, self.turn_route = error, turn_route

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        with torch.inference_mode():
            logits, prior, gates = (t.numpy() for t in self.router(torch.from_numpy(views)))
        return logits, prior, np.roll(gates, 1, axis=1) if self.turn_route else gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        with torch.inference_mode():
            out: Array = self.net(*map(torch.from_numpy, (image, prior, gates))).numpy()
        out[0, 0, 0, 0] += self.error
        return out


@pytest.fixture(scope="module")
def check(tiny_pair: Pair, tiny_bundle: Path) -> Check:
    references = make_references(tiny_pair.modules(), photos.paths()[2:])
    manifest = Bundle.open(tiny_bundle).manifest

    def run(precision: Precision, limits: Limits, **planted: Any) -> Certificate:
        backend = PlantedError(tiny_pair, **planted)
        changed = manifest.model_copy(update={"precision": precision})
        return certify(backend, references, changed, limits)

    return run


def test_a_faithful_backend_passes(check: Check) -> None:
    certificate = check("fp32", Limits(), error=0.0)
    assert certificate.max_error < 1e-6
    assert certificate.route_changes == 0
    assert certificate.psnr_db > 120
    assert certificate.pictures[0].name == "chelsea.jpg"


def test_one_wrong_value_fails_in_float32(check: Check) -> None:
    with pytest.raises(VerificationError, match=r"--max-error\): wanted 0\.0001, found 0\.001"):
        check("fp32", Limits(), error=1e-3)
    check("fp32", Limits(max_error=2e-3), error=1e-3)


def test_half_precision_is_judged_by_psnr(check: Check) -> None:
    # One value of 225*150*3 off by 0.5: 10 log10(101250 / 0.25) = 56 dB.
    with pytest.raises(VerificationError, match=r"--min-psnr\): wanted 60 dB, found 5\d"):
        check("fp16", Limits(min_psnr=60), error=-0.5)
    check("fp16", Limits(min_psnr=50), error=-0.5)


def test_nan_and_a_changed_route_fail(check: Check) -> None:
    for precision in ("fp32", "fp16"):
        with pytest.raises(VerificationError):
            check(precision, Limits(), error=float("nan"))
    with pytest.raises(VerificationError, match="routes"):
        check("fp32", Limits(max_error=10), error=0.0, turn_route=True)


def test_psnr_against_its_definition() -> None:
    a = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    b = np.clip(a + 0.01, 0, None)
    assert psnr(a, b) == pytest.approx(40, abs=0.01)
    assert psnr(a, a) == 160


def test_a_bundle_out_of_limits_is_not_written(tiny_pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="max-error"):
        build_bundle(tiny_pair, SOURCE, tmp_path / "bundle", limits=Limits(max_error=1e-12))
    assert list(tmp_path.iterdir()) == []


def test_the_certificate_is_in_the_manifest(tiny_bundle: Path, tiny_bundle_fp16: Path) -> None:
    for path, limit in ((tiny_bundle, "max_error"), (tiny_bundle_fp16, "min_psnr_db")):
        certificate = Bundle.open(path).manifest.certificate
        assert certificate is not None
        assert set(certificate.limits) == {limit, "route_changes"}
        assert [p.name for p in certificate.pictures] == list(photos.NAMES)
        assert len({(p.width, p.height) for p in certificate.pictures}) == 3
    exact = Bundle.open(tiny_bundle).manifest.certificate
    assert exact is not None
    assert exact.max_error <= 1e-4
