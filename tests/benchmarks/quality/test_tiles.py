from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from lorair import Restorer
from lorair.benchmarks.quality.tiles import seam
from lorair.benchmarks.schema.quality import TilesReport
from lorair.benchmarks.schema.results_file import read_report


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(pixels).save(path)
    return path


def test_seam_is_a_step_not_a_slope() -> None:
    slope = np.linspace(0, 50, 101)[:, None, None] * np.ones((1, 40, 3))
    assert seam(slope) == pytest.approx(0.5)
    slope[:, 20:, 1] -= 7
    assert seam(slope) == pytest.approx(7)
    assert seam(np.zeros((1, 1, 3))) == 0


def test_rows_say_what_tiles_cost(
    lorair_bench: Command, tiny_bundle: Path, noise: Path, tmp_path: Path
) -> None:
    report = tmp_path / "tiles.json"
    sides = ("--tile", 64, "--tile", 96, "--tile", 256)
    arguments = ("--images", noise, "--bundle", tiny_bundle, "--backend", "onnxruntime")
    result = lorair_bench("tiles", *arguments, *sides, "--report", report)
    assert result.code == 0, result.error
    document = read_report(report)
    assert isinstance(document, TilesReport)
    assert [(row.picture, row.tile) for row in document.rows] == [
        ("noise.png", 64),
        ("noise.png", 96),
    ]
    restorer = Restorer.open(tiny_bundle, "onnxruntime")
    pixels = np.asarray(Image.open(noise)).astype(np.float32) / np.float32(255)
    route = restorer.route(pixels)
    whole = restorer.restore(pixels, route, "off").image.astype(np.float64)
    for row in document.rows:
        tiled = restorer.restore(pixels, route, row.tile).image.astype(np.float64)
        expected = peak_signal_noise_ratio(whole, tiled, data_range=1)
        assert row.psnr_db == pytest.approx(min(expected, 160))
        assert row.seam <= 2 * 255 * np.abs(tiled - whole).max()
        assert (row.height, row.width) == (100, 150)
