"""The authors' released inference against the whole path: command, bundle, runtime, file."""

from pathlib import Path

import golden
import numpy as np
import pytest
from command import make_command
from PIL import Image

from lorair.runtime.pixels import from_planes, make_views, to_planes
from lorair.runtime.restorer import Restorer
from lorair.runtime.routing.route import gates_from_logits

pytestmark = golden.needs_golden

exact_backends = pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])


@pytest.fixture(scope="module", params=golden.NAMES)
def case(request: pytest.FixtureRequest) -> golden.GoldenCase:
    return golden.load_case(request.param)


@pytest.fixture(scope="module")
def bundle(case: golden.GoldenCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the command and options that a user would give."""
    from typer.testing import CliRunner

    from lorair.exporter.commands import main as cli

    path = tmp_path_factory.mktemp("golden") / "bundle"
    arguments = ["build", "--ir-weights", case.folder / "ir.pth"]
    arguments += ["--router-weights", case.folder / "router.pth"]
    arguments += ["--top-k", case.top_k, "--fp32", "-o", path]
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def pixels(case: golden.GoldenCase) -> np.ndarray:
    with Image.open(case.picture) as image:
        return np.asarray(image.convert("RGB"))


def test_views(case: golden.GoldenCase, pixels: np.ndarray) -> None:
    side = case.config["clip"]["img"]
    np.testing.assert_allclose(make_views(pixels, side), case.arrays["views"], atol=1e-6)


@exact_backends
def test_router(case: golden.GoldenCase, bundle: Path, pixels: np.ndarray, backend: str) -> None:
    route = Restorer.open(bundle, backend).route(pixels)
    np.testing.assert_allclose(route.logits, case.arrays["logits"][0], atol=1e-4)
    np.testing.assert_allclose(route.prior, case.arrays["prior"][0], atol=1e-4)
    assert np.count_nonzero(route.gates) == case.top_k


@exact_backends
def test_restored(case: golden.GoldenCase, bundle: Path, pixels: np.ndarray, backend: str) -> None:
    """The picture under its own logits and under every recorded set of other logits."""
    opened = Restorer.open(bundle, backend).backend
    names = [name for name in case.arrays if name.startswith("logits")]
    assert len(names) == {"top1_of_3": 1, "top2_of_4": 3}[case.folder.name]
    height, width = pixels.shape[:2]
    for name in names:
        gates = gates_from_logits(case.arrays[name][0], case.top_k)
        found = opened.restore(to_planes(pixels, 16), case.arrays["prior"], gates)
        wanted = case.arrays[name.replace("logits", "restored")]
        np.testing.assert_allclose(found[..., :height, :width], wanted, atol=1e-4)


@exact_backends
def test_saved_picture(
    case: golden.GoldenCase,
    bundle: Path,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lorair_run = make_command("lorair-run", monkeypatch, capsys)
    out = tmp_path / "out.png"
    result = lorair_run("infer", case.picture, "-b", bundle, "-o", out, "--backend", backend)
    assert result.code == 0
    with Image.open(out) as image:
        found = np.asarray(image).astype(int)
    wanted = case.arrays["restored_u8"].astype(int)
    assert found.shape == wanted.shape
    assert abs(found - wanted).max() <= 1
    assert (found == wanted).mean() >= 0.999


def test_rounding_is_the_authors(case: golden.GoldenCase) -> None:
    """Their float picture, saved by us, is their saved picture in every value."""
    wanted = case.arrays["restored_u8"]
    found = from_planes(case.arrays["restored"], wanted.shape[:2], np.dtype(np.uint8))
    np.testing.assert_array_equal(found, wanted)
