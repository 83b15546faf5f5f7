import json
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lorair.benchmarks.quality import find_pairs, luma, mean_scores, score
from lorair.runtime.errors import OptionError

SSIM = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 255,
}


@pytest.fixture
def noisy(photo: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 20, photo.shape)
    return (photo + noise).clip(0, 255).astype(np.uint8)


def test_scores_are_those_of_scikit_image(photo: np.ndarray, noisy: np.ndarray) -> None:
    found = score(noisy, photo)
    a, b = (rgb2ycbcr(p)[..., 0] for p in (noisy, photo))
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(photo, noisy), abs=1e-9)
    assert found.psnr_y == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-3)
    wanted = structural_similarity(photo, noisy, channel_axis=2, **SSIM)
    assert found.ssim == pytest.approx(wanted, abs=1e-9)
    assert found.ssim_y == pytest.approx(structural_similarity(a, b, **SSIM), abs=1e-5)


def test_luma_is_studio_swing() -> None:
    ends = luma(np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.float64))
    np.testing.assert_allclose(ends, [[16, 235, 16 + 65.481]], atol=1e-9)


def test_equal_pictures(photo: np.ndarray) -> None:
    found = score(photo, photo)
    assert (found.psnr, found.psnr_y) == (100, 100)
    assert found.ssim == pytest.approx(1)
    assert mean_scores([found, found]) == found


@pytest.fixture
def folders(photo: np.ndarray, noisy: np.ndarray, tmp_path: Path) -> tuple[Path, Path]:
    inputs, targets = tmp_path / "input", tmp_path / "target"
    for folder, pixels in ((inputs, noisy), (targets, photo)):
        folder.mkdir()
        Image.fromarray(pixels[:60, :90]).save(folder / "a.png")
        Image.fromarray(pixels[60:100, :50]).save(folder / "b.png")
    return inputs, targets


def test_command(
    lorair_bench: Command, tiny_bundle: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    arguments = ("--input", folders[0], "--target", folders[1], "--bundle", tiny_bundle)
    result = lorair_bench("quality", *arguments, "--report", report)
    assert result.code == 0, result.err
    assert "mean of 2" in result.out
    document = json.loads(report.read_text())
    assert document["kind"] == "quality"
    first, second = document["pictures"]
    assert (first["name"], first["width"], first["height"]) == ("a", 90, 60)
    for when in ("before", "after"):
        for metric in ("psnr", "ssim", "psnr_y", "ssim_y"):
            mean = (first[when][metric] + second[when][metric]) / 2
            assert document["mean"][when][metric] == pytest.approx(mean)
    printed = json.loads(lorair_bench("quality", *arguments, "--json").out)
    assert printed["mean"] == document["mean"]


def test_pairs_go_by_name_not_by_ending(folders: tuple[Path, Path]) -> None:
    inputs, targets = folders
    (targets / "a.png").rename(targets / "a.bmp")
    assert [(a.name, b.name) for a, b in find_pairs(inputs, targets)] == [
        ("a.png", "a.bmp"),
        ("b.png", "b.png"),
    ]
    (targets / "b.png").unlink()
    with pytest.raises(OptionError, match=r"--target.*none for b\.png"):
        find_pairs(inputs, targets)
    with pytest.raises(OptionError, match="--input"):
        find_pairs(inputs / "nowhere", targets)


@pytest.mark.parametrize(("side", "message"), [(40, "the same size"), (8, "at least 11")])
def test_pictures_that_cannot_be_compared(
    lorair_bench: Command, tiny_bundle: Path, folders: tuple[Path, Path], side: int, message: str
) -> None:
    inputs, targets = folders
    small = Image.new("RGB", (side, side))
    small.save(targets / "a.png")
    if side < 11:
        small.save(inputs / "a.png")
    arguments = ("--input", inputs, "--target", targets, "--bundle", tiny_bundle)
    result = lorair_bench("quality", *arguments)
    assert result.code == 2
    assert message in result.error
