"""The model repository on NVIDIA's Triton Inference Server itself: `make triton-check`.

A Python-based backend plays ONNX Runtime's, which the server's package has not:
tests/support/triton_backend.py.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import triton_process
from PIL import Image
from triton_process import Server, server

from lorair import Restorer
from lorair.exporter.graphs.quantize import quantize_router
from lorair.exporter.triton_server.repository import parts, write
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import Bundle, write_manifest

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(triton_process.missing() is not None, reason=str(triton_process.missing())),
]

PAGE = Path(__file__).parents[3] / "docs" / "triton.md"
NAMES = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tiny_bundle_fp16: Path, tmp_path_factory: Any) -> dict[str, Path]:
    int8 = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("int8") / "bundle")
    quantize_router(int8 / "router.onnx")
    changes: Any = {"files": list_files(int8), "router_precision": "int8"}
    write_manifest(int8, Bundle.open(tiny_bundle).manifest.model_copy(update=changes))
    return dict(zip(NAMES, (tiny_bundle, tiny_bundle_fp16, int8), strict=True))


@pytest.fixture(scope="module")
def running(bundles: dict[str, Path], tmp_path_factory: Any) -> Iterator[Server]:
    """One server for all bundles, and the default model as `lorair`."""
    models = tmp_path_factory.mktemp("models")
    for name, path in {**bundles, "lorair": "default"}.items():
        write(parts(Bundle.open(path), name), models)
    with server(models, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def restorers(bundles: dict[str, Path]) -> dict[str, Restorer]:
    return {name: Restorer.open(path, "onnxruntime") for name, path in bundles.items()}


def check(found: dict[str, np.ndarray], restorer: Restorer, picture: np.ndarray) -> None:
    wanted = restorer.restore(picture)
    difference = abs(found["restored"].astype(int) - wanted.image)
    assert difference.max() <= 1
    is_half = restorer.bundle.manifest.precision == "fp16"
    assert (difference > 0).mean() < (2e-3 if is_half else 1e-3)
    assert found["is_finite"].all()
    for name in ("logits", "gates", "prior"):
        np.testing.assert_allclose(found[name][0], getattr(wanted.route, name), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_several_sizes(
    name: str, running: Server, restorers: dict[str, Restorer], photo: np.ndarray
) -> None:
    for picture in (photo[:70, :90], photo[:64, 100:148], photo[3:4, :50]):
        check(running.infer(name, {"image": picture}), restorers[name], picture)


def test_the_server_knows_what_it_is(running: Server, bundles: dict[str, Path]) -> None:
    assert running.get("/v2")["version"].startswith("2.")
    config = running.get("/v2/models/fp32/config")
    digest = Bundle.open(bundles["fp32"]).manifest.digest
    assert config["parameters"]["bundle"]["string_value"] == digest
    assert config["parameters"]["classes"]["string_value"] == "snow,rain,raindrop"


PICTURE, ROUTE = {"restored", "is_finite"}, {"logits", "prior", "gates"}


def test_only_what_is_asked_for_is_sent(running: Server, photo: np.ndarray) -> None:
    """And what docs/triton.md says cannot be asked for: the server leaves out too many steps."""
    every = sorted(PICTURE | ROUTE)
    for wanted in (set(some) for n in range(1, 6) for some in combinations(every, n)):
        if (wanted & PICTURE and wanted & ROUTE) or wanted == ROUTE:
            found = running.infer("fp32", {"image": photo[:32, :32]}, list(wanted))
            assert found.keys() == wanted
        else:
            with pytest.raises(httpx.HTTPStatusError, match="unexpected deadlock"):
                running.infer("fp32", {"image": photo[:32, :32]}, list(wanted))


def test_two_clients_at_once(
    running: Server, restorers: dict[str, Restorer], photo: np.ndarray
) -> None:
    pictures = [np.ascontiguousarray(photo[i : i + 40, : 48 + i]) for i in range(8)]
    with ThreadPoolExecutor(2) as clients:
        found = list(clients.map(lambda p: running.infer("fp32", {"image": p}), pictures))
    for one, picture in zip(found, pictures, strict=True):
        check(one, restorers["fp32"], picture)


def test_other_gates_by_the_steps_one_by_one(
    running: Server, restorers: dict[str, Restorer], photo: np.ndarray
) -> None:
    """As docs/triton.md says."""
    picture, gates = photo[:50, :70], np.float32([[0.25, 0.75, 0]])
    ready = running.infer("fp32_prepare", {"image": picture})
    route = running.infer("fp32_router", {"views": ready["views"]})
    given = {"image": ready["planes"], "prior": route["prior"], "gates": gates}
    planes = running.infer("fp32_restorer", given)["restored"]
    found = running.infer("fp32_finish", {"planes": planes, "size": ready["size"]})
    restorer = restorers["fp32"]
    wanted = restorer.restore(picture, restorer.route(picture).with_gates(gates[0])).image
    assert abs(found["restored"].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((4, 5), np.uint8), "unexpected shape"),
        (np.zeros((4, 5, 4), np.uint8), "unexpected shape"),
        (np.zeros((1, 4, 5, 3), np.uint8), "unexpected shape"),
        (np.zeros((4, 5, 3), np.float32), "data-type"),
        (np.zeros((0, 5, 3), np.uint8), r"error"),
    ],
)
def test_what_is_no_picture_is_refused(
    picture: np.ndarray, words: str, running: Server, photo: np.ndarray
) -> None:
    """And the server goes on."""
    with pytest.raises(httpx.HTTPStatusError, match=words) as caught:
        running.infer("fp32", {"image": picture})
    assert caught.value.response.status_code in (400, 500)
    assert running.infer("fp32", {"image": photo[:16, :16]})["is_finite"].all()


def test_the_client_of_the_page(running: Server, photo: np.ndarray, tmp_path: Path) -> None:
    """As it stands, but for the port."""
    (code,) = (
        block
        for block in re.findall(r"^```\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
        if "tritonclient" in block
    )
    Image.fromarray(photo[:64, :80]).save(tmp_path / "photo.jpg")
    paths = f"import sys; sys.path.append({str(triton_process.HOME / 'client')!r})\n"
    script = paths + code.replace("localhost:8000", running.address)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(tmp_path / "photo.jpg").convert("RGB"))
    restored = np.asarray(Image.open(tmp_path / "photo.restored.png")).astype(int)
    wanted = Restorer.open("default", "onnxruntime").restore(pixels).image
    assert abs(restored - wanted).max() <= 1
