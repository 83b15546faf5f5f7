"""The int8 router, and the guard on it."""

import warnings
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as openvino_library
import pytest
import torch
from onnxruntime import InferenceSession
from onnxruntime.quantization import QuantType, quantize_dynamic

from lorair import Restorer
from lorair.exporter import build, photos
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.graphs import onnx_export
from lorair.exporter.verify import certificate
from lorair.exporter.verify.certificate import check_routes
from lorair.exporter.verify.compare import cosine
from lorair.exporter.verify.probes import probe
from lorair.runtime.backends import openvino
from lorair.runtime.bundle.manifest import Bundle, RouteParity, Source
from lorair.runtime.errors import VerificationError
from lorair.runtime.pixels import make_views

PROBE = partial(probe, photos.paths())
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


def test_it_is_what_onnx_runtime_quantizes(
    sure_pair: Pair, int8_bundle: Path, tmp_path: Path
) -> None:
    """Its own tool makes the same numbers, to the bit; it takes seven times as long."""
    exact, theirs = tmp_path / "router.onnx", tmp_path / "theirs.onnx"
    onnx_export.export_router(sure_pair.modules().router, sure_pair.config.router, exact)
    model = onnx.load(exact)
    del model.graph.value_info[:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(
            model,
            theirs,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[f"{n.name}_MatMul" for n in model.graph.node if n.op_type == "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    side = sure_pair.config.router.side
    views = np.random.default_rng(0).random((2, 5, 3, side, side), dtype=np.float32)
    found, wanted = (
        InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"views": views})
        for path in (int8_bundle / "router.onnx", theirs)
    )
    for ours, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, other)


def test_the_manifest_says_so(int8_bundle: Path, tiny_bundle: Path) -> None:
    manifest = Bundle.open(int8_bundle).manifest
    assert manifest.router_precision == "int8"
    parity = manifest.certificate
    assert parity is not None
    assert parity.routes is not None
    assert parity.routes.pictures == parity.routes.compared == 3
    assert parity.routes.changes == 0
    assert parity.routes.prior_cosine > 0.999
    assert parity.limits == {"min_psnr_db": 50.0, "route_changes": 0}
    assert parity.psnr_db > 50
    assert Bundle.open(tiny_bundle).manifest.router_precision is None


def test_the_prior_is_near_the_exact_one(
    int8_bundle: Path, tiny_bundle: Path, photo: np.ndarray
) -> None:
    found, wanted = (Restorer.open(p).route(photo) for p in (int8_bundle, tiny_bundle))
    cosine = found.prior @ wanted.prior
    cosine /= np.linalg.norm(found.prior) * np.linalg.norm(wanted.prior)
    assert 0.999 < cosine < 1 - 1e-7


def test_openvino_gets_the_same_weights_and_quantizes_itself(
    int8_bundle: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16, which the CPU's float32 plays."""
    real = openvino_library.Core.compile_model
    groups = []

    def compile_model(core: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        groups.append(config.get("DYNAMIC_QUANTIZATION_GROUP_SIZE"))
        return real(core, model, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino_library.Core, "compile_model", compile_model)
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    backend = Restorer.open(int8_bundle, "openvino-bf16").backend
    assert isinstance(backend, openvino.OpenVINOBackend)
    assert backend.router_graph == int8_bundle / "router.openvino.onnx"
    weights, products = {}, []
    for graph in (int8_bundle / "router.onnx", backend.router_graph):
        model = onnx.load(graph)
        onnx.checker.check_model(model)
        weights[graph.name] = {t.name: t.raw_data for t in model.graph.initializer}
        products.append([n.name for n in model.graph.node if n.op_type == "DequantizeLinear"])
    assert len(products[1]) == 12
    assert not products[0]
    assert weights["router.onnx"] == weights["router.openvino.onnx"]
    assert backend.router_graph.stat().st_size < 200_000

    views = make_views(photo, 56)
    found = backend.route(views)[1][0]
    wanted = Restorer.open(int8_bundle, "onnxruntime").backend.route(views)[1][0]
    assert 0.999 < cosine(found, wanted) < 1 - 1e-7, "activations are not rounded here"
    assert groups == [1024]


def test_an_older_int8_bundle_routes_on_onnx_runtime(
    int8_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: True)
    manifest = Bundle.open(int8_bundle).manifest
    files = {name: f for name, f in manifest.files.items() if name != "router.openvino.onnx"}
    bundle = Bundle(int8_bundle, manifest.model_copy(update={"files": files}))
    backend = openvino.open_backend("openvino-bf16", bundle, None, 1)
    assert backend.router_graph == bundle.router
    assert "router on onnxruntime" in backend.description


def test_a_changed_route_is_refused(
    tiny_pair: Pair, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Restorer.open(tiny_bundle).backend
    exact, calls = backend.route, count(1)

    def every_third_turned(views: np.ndarray) -> tuple[np.ndarray, ...]:
        logits, prior, gates = exact(views)
        return logits, prior, np.roll(gates, int(next(calls) % 3 == 0), axis=1)

    monkeypatch.setattr(backend, "route", every_third_turned)
    with pytest.raises(VerificationError, match=r"wanted no change, found 1 of 3 .*--router-int8"):
        check_routes(backend, tiny_pair.modules().router, PROBE, 3)


class Routers:
    """Two routers of pictures whose number is the margin of the backend's route.

    errors: of the float32 router's first logit, by picture. priors: whether they differ.
    """

    side = 0

    def __init__(
        self, errors: dict[int, float], *, priors: bool = False, top_k: int = 1, count: int = 8
    ) -> None:
        self.errors, self.priors, self.top_k, self.count = errors, priors, top_k, count
        self.compared: list[int] = []

    def route(self, views: np.ndarray) -> tuple[np.ndarray, ...]:
        gates = np.array([[1, 0]], np.float32)
        return np.array([[views[0], 0]], np.float32), np.array([[0.0, 1]], np.float32), gates

    def __call__(self, views: torch.Tensor) -> tuple[torch.Tensor, ...]:
        number = int(views[0])
        self.compared.append(number)
        first = number + self.errors.get(number, 0.01)
        prior = torch.tensor([[float(self.priors), 1.0]])
        gates = torch.tensor([[float(first > 0), float(first <= 0)]])
        return torch.tensor([[first, 0.0]]), prior, gates

    def check(self, monkeypatch: pytest.MonkeyPatch) -> RouteParity:
        monkeypatch.setattr(certificate, "make_views", lambda pixels, side: pixels)
        ours: Any = self
        # Not in the order of their margins.
        return certificate.check_routes(
            ours, ours, lambda number: np.array([self.count - number]), self.count
        )


@pytest.mark.parametrize(
    ("errors", "compared"),
    [
        ({}, [1, 2, 3]),
        # 4 times the error of a logit: twice what two of them can bridge.
        ({3: 1.25}, [1, 2, 3, 4, 5]),
        ({3: 1.25, 5: -2.0}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_what_is_likely_to_change_is_compared(
    errors: dict[int, float], compared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    routers = Routers(errors)
    found = routers.check(monkeypatch)
    assert routers.compared == compared
    assert (found.pictures, found.compared, found.changes) == (8, len(compared), 0)


def test_routes_to_all_experts_cannot_change(monkeypatch: pytest.MonkeyPatch) -> None:
    routers = Routers({}, top_k=2)
    assert routers.check(monkeypatch).compared == 3


@pytest.mark.parametrize(
    ("routers", "message"),
    [
        (Routers({2: -3.0}), "chooses other experts.*wanted no change, found 1 of"),
        (Routers({}, priors=True), r"another prior.*wanted a cosine of 0\.9995.*found 0\.70711"),
    ],
)
def test_the_least_sure_are_refused(
    routers: Routers, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VerificationError, match=message):
        routers.check(monkeypatch)


def test_nothing_is_written_if_a_route_changes(
    tiny_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise VerificationError("planted")

    monkeypatch.setattr(build, "check_routes", refuse)
    with pytest.raises(VerificationError, match="planted"):
        build.build_bundle(tiny_pair, SOURCE, tmp_path / "b", router_int8=True, route_checks=1)
    assert list(tmp_path.iterdir()) == []


def test_probes_repeat_and_differ() -> None:
    numbers = range(42)
    found = [float(PROBE(number).mean()) for number in numbers]
    assert found[:9] == [float(PROBE(number).mean()) for number in numbers[:9]]
    assert len(set(found)) == 42
    for number in numbers[:21]:
        picture = PROBE(number)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert min(picture.shape[:2]) > 50
