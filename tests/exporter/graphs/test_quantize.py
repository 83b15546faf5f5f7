"""The int8 router, and the guard on it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lorair import Restorer
from lorair.exporter import build, photos
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.verify.certificate import check_routes
from lorair.exporter.verify.probes import probes
from lorair.runtime.bundle.manifest import Bundle, Source
from lorair.runtime.errors import VerificationError

SOURCE = Source(kind="synthetic", detail="for a test")


@pytest.fixture(scope="module")
def sure_pair(tiny_pair: Pair) -> Pair:
    """`tiny_pair` with a router that is sure of itself; drawn weights are on the fence."""
    bias = torch.tensor([4.0, 0.0, -4.0])
    return replace(tiny_pair, router={**tiny_pair.router, "cls_head.bias": bias})


@pytest.fixture(scope="module")
def int8_bundle(sure_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "bundle"
    build.build_bundle(sure_pair, SOURCE, path, router_int8=True, route_checks=3)
    return path


def test_products_are_int8_and_the_rest_float(int8_bundle: Path, tiny_bundle: Path) -> None:
    graph = onnx.load(int8_bundle / "router.onnx").graph
    kinds = [n.op_type for n in graph.node]
    # Two layers of q, k, v, out and two of the MLP.
    assert kinds.count("MatMulInteger") == 2 * 6
    assert "Conv" in kinds
    types = {t.name: t.data_type for t in graph.initializer}
    small = [name for name in types if name.startswith(("de_extractor", "cls_head"))]
    assert len(small) == 6
    assert {types[name] for name in small} == {onnx.TensorProto.FLOAT}
    sizes = [(p / "router.onnx.data").stat().st_size for p in (int8_bundle, tiny_bundle)]
    assert sizes[0] < sizes[1]
    assert not [p for p in int8_bundle.iterdir() if p.is_dir()], "no temporary folder is left"


def test_the_manifest_says_so(int8_bundle: Path, tiny_bundle: Path) -> None:
    manifest = Bundle.open(int8_bundle).manifest
    assert manifest.router_precision == "int8"
    certificate = manifest.certificate
    assert certificate is not None
    assert certificate.routes is not None
    assert certificate.routes.pictures == 3
    assert certificate.routes.changes == 0
    assert certificate.routes.prior_cosine > 0.999
    assert certificate.limits == {"min_psnr_db": 50.0, "route_changes": 0}
    assert certificate.psnr_db > 50
    assert Bundle.open(tiny_bundle).manifest.router_precision is None


def test_the_prior_is_near_the_exact_one(
    int8_bundle: Path, tiny_bundle: Path, photo: np.ndarray
) -> None:
    found, wanted = (Restorer.open(p).route(photo) for p in (int8_bundle, tiny_bundle))
    cosine = found.prior @ wanted.prior
    cosine /= np.linalg.norm(found.prior) * np.linalg.norm(wanted.prior)
    assert 0.999 < cosine < 1 - 1e-7


def test_a_changed_route_is_refused(
    tiny_pair: Pair, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Restorer.open(tiny_bundle).backend
    exact, calls = backend.route, count(1)

    def every_third_turned(views: np.ndarray) -> tuple[np.ndarray, ...]:
        logits, prior, gates = exact(views)
        return logits, prior, np.roll(gates, int(next(calls) % 3 == 0), axis=1)

    monkeypatch.setattr(backend, "route", every_third_turned)
    pictures = probes(photos.paths(), 4)
    with pytest.raises(VerificationError, match=r"wanted no change, found 1 of 4 .*--router-int8"):
        check_routes(backend, tiny_pair.modules().router, pictures)


def test_nothing_is_written_if_a_route_changes(
    tiny_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise VerificationError("planted")

    monkeypatch.setattr(build, "check_routes", refuse)
    with pytest.raises(VerificationError, match="planted"):
        build.build_bundle(tiny_pair, SOURCE, tmp_path / "b", router_int8=True, route_checks=1)
    assert list(tmp_path.iterdir()) == []


def means(pictures: Iterator[np.ndarray]) -> list[float]:
    return [float(p.mean()) for p in pictures]


def test_probes_repeat_and_differ() -> None:
    found = means(probes(photos.paths(), 42))
    assert found == means(probes(photos.paths(), 42))
    assert len(set(found)) == 42
    for picture in probes(photos.paths(), 21):
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert min(picture.shape[:2]) > 50
