"""The shipped weights: what the model card says, on a small held-out sample."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image

from lorair.benchmarks.quality.metrics import score
from lorair.exporter import demo
from lorair.exporter.build import build_bundle
from lorair.exporter.checkpoint.checkpoint import load_pair
from lorair.runtime.bundle import DEFAULT, SHIPPED_BUNDLE
from lorair.runtime.bundle.manifest import Bundle, Source
from lorair.runtime.restorer import Restorer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def default_bundle_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("default-fp16") / "bundle"
    pair = load_pair(*demo.paths(), classes=demo.CLASSES)
    build_bundle(pair, Source(kind="default", detail="the default model"), path, precision="fp16")
    return path


@pytest.fixture(params=["default_bundle", "default_bundle_fp16"])
def demo_bundle(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def test_the_files_are_small_and_have_a_card() -> None:
    files = demo.paths()
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    card = files[0].with_name("MODEL_CARD.md").read_text("utf-8")
    assert "Apache-2.0" in card


def test_bundles_pass_their_certificate(demo_bundle: Path) -> None:
    manifest = Bundle.open(demo_bundle).manifest
    assert manifest.certificate is not None
    assert manifest.certificate.route_changes == 0
    assert manifest.model.classes == demo.CLASSES


def test_the_shipped_bundle_is_what_build_makes(lorair_export: Command, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    result = lorair_export("build", "-o", path, "--json")
    assert result.code == 0
    assert "default model" in result.err
    source = json.loads(result.out)["source"]
    assert (source["kind"], source["ir"]["name"]) == ("default", "ir.safetensors")
    shipped, built = (Bundle.open(folder).manifest for folder in (DEFAULT, path))
    assert shipped.source is not None
    wanted = [hashlib.sha256(path.read_bytes()).hexdigest() for path in demo.paths()]
    assert shipped.source.ir is not None
    assert shipped.source.router is not None
    assert [shipped.source.ir.sha256, shipped.source.router.sha256] == wanted
    assert shipped.model == built.model
    assert shipped.files.keys() == built.files.keys()
    for name in shipped.files:
        found, made = (Path(folder, name).read_bytes() for folder in (SHIPPED_BUNDLE, path))
        if name.endswith(".data"):  # folded products may differ by a rounding between CPUs
            found, made = (np.frombuffer(x, np.float32) for x in (found, made))
            np.testing.assert_allclose(found, made, rtol=1e-5, atol=1e-7)
        else:
            assert found == made, name


def test_tiles_share_the_pictures_means(default_bundle: Path) -> None:
    """Plain tiles come out at 37 dB, with steps of 25 levels: see docs/tiles.md."""
    restorer = Restorer.open(default_bundle)
    picture = np.asarray(Image.open(EXAMPLES / "rain.jpg")).astype(np.float32) / 255
    whole = restorer.restore(picture, tile="off")
    tiled = restorer.restore(picture, whole.route, tile=128)
    error = tiled.image - whole.image
    assert whole.tile is None
    assert tiled.tile == 128
    assert 10 * np.log10(1 / np.mean(error**2)) > 45
    assert max(np.abs(np.diff(error, axis=axis)).max() for axis in (0, 1)) < 8 / 255


def test_a_smooth_ramp_shows_no_seam(default_bundle: Path) -> None:
    across = np.linspace(0.2, 0.8, 400, dtype=np.float32)
    picture = np.repeat((across[:300, None] + across[None])[..., None] / 2, 3, axis=2)
    restorer = Restorer.open(default_bundle)
    whole = restorer.restore(picture, tile="off")
    error = restorer.restore(picture, whole.route, tile=128).image - whole.image
    for axis in (0, 1):
        assert np.abs(np.diff(error, axis=axis)).max() < 1 / 255


def test_examples_are_routed_and_restored(demo_bundle: Path) -> None:
    restorer = Restorer.open(demo_bundle)
    for kind, least in (("snow", 5.0), ("rain", 8.0), ("raindrop", 1.5)):
        degraded, clean = (
            np.asarray(Image.open(EXAMPLES / name)) for name in (f"{kind}.jpg", f"{kind}.clean.jpg")
        )
        restored = restorer.restore(degraded)
        before, after = score(degraded, clean), score(restored.image, clean)
        assert restored.route.top == kind
        assert after.psnr > before.psnr + least
        assert after.ssim > before.ssim
        np.testing.assert_array_equal(restorer.restore(clean).image, clean)
