import base64
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lorair.benchmarks.quality.datasets import DATASETS, PicturePair, find_pairs
from lorair.benchmarks.quality.metrics import luma, mean_scores, score, ssim
from lorair.benchmarks.quality.previews import MOST_BYTES, preview, spread
from lorair.benchmarks.schema.quality import QualityReport
from lorair.benchmarks.schema.results_file import read_report
from lorair.benchmarks.tables.quality import quality_shown, router_accuracy
from lorair.runtime.errors import OptionError

SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


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


def test_ssim_is_the_formula_in_loops() -> None:
    """Wang et al. 2004, one window after the other, on a small picture."""
    rng = np.random.default_rng(0)
    a = rng.uniform(16, 235, (13, 12))
    b = (a + rng.normal(0, 15, a.shape)).clip(16, 235)
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(g, g) / g.sum() ** 2
    found = []
    for top in range(3):
        for left in range(2):
            x, y = (p[top : top + 11, left : left + 11] for p in (a, b))
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            means = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            found.append(means * (2 * cov + c2) / (vx + vy + c2))
    assert ssim(a, b) == pytest.approx(np.mean(found), abs=1e-12)


def test_authors_protocol(photo: np.ndarray, noisy: np.ndarray) -> None:
    """OpenCV's BGR weighed as RGB, float32 in [0, 1]; scikit-image with window 11."""

    def their_y(rgb: np.ndarray) -> np.ndarray:
        unit = rgb[..., ::-1].astype(np.float32) / np.float32(255)
        y = unit.astype(np.float64) @ [65.481, 128.553, 24.966] + 16
        return (y / 255).astype(np.float32)

    found = score(noisy, photo)
    a, b = their_y(noisy), their_y(photo)
    wanted = peak_signal_noise_ratio(b, a, data_range=1)
    assert found.psnr_authors == pytest.approx(wanted, abs=1e-3)
    wanted = structural_similarity(a, b, win_size=11, data_range=1)
    assert found.ssim_authors == pytest.approx(wanted, abs=1e-5)
    assert found.ssim_authors != pytest.approx(found.ssim_y, abs=1e-3), "no Gaussian window"
    red = photo.copy()
    red[..., 0] = 255 - red[..., 0]
    swapped = score(red, photo)
    assert swapped.psnr_authors - swapped.psnr_y == pytest.approx(
        20 * np.log10(65.481 / 24.966), abs=1e-6
    )


def test_luma_is_studio_swing() -> None:
    ends = luma(np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.float64))
    np.testing.assert_allclose(ends, [[16, 235, 16 + 65.481]], atol=1e-9)


def test_equal_pictures(photo: np.ndarray) -> None:
    found = score(photo, photo)
    assert (found.psnr, found.psnr_y) == (160, 160)
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
    assert "Means by the class" in result.out
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
    assert [(p.source.name, p.target.name) for p in find_pairs(inputs, targets)] == [
        ("a.png", "a.bmp"),
        ("b.png", "b.png"),
    ]
    (targets / "b.png").unlink()
    with pytest.raises(OptionError, match=r"1 pictures of .* no target.*found none for b\.png"):
        find_pairs(inputs, targets)
    with pytest.raises(OptionError, match="--input"):
        find_pairs(inputs / "nowhere", targets)


def touch(folder: Path, names: Iterable[str]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("dataset", "folder", "names"),
    [
        ("snow", "synthetic", {"beautiful_smile_00003.jpg": "beautiful_smile_00003.jpg"}),
        ("rainfog", "input", {f"im_0001_s80_a0{i}.png": "im_0001.png" for i in (4, 5)}),
        ("raindrop", "data", {"0_rain.png": "0_clean.png", "10_rain.png": "10_clean.png"}),
        ("rainfog", "lq", {"im_0002.png": "im_0002.png"}),
    ],
)
def test_naming_rules_of_the_data_sets(
    dataset: str, folder: str, names: dict[str, str], tmp_path: Path
) -> None:
    inputs = touch(tmp_path / folder, names)
    targets = touch(tmp_path / "gt", {*names.values(), "other_clean.png"})
    found = find_pairs(inputs, targets, DATASETS[dataset])
    assert {p.source.name: p.target.name for p in found} == names


def test_a_data_folder_with_the_published_numbers_beside(
    lorair_bench: Command, tiny_bundle: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    inputs, targets = folders
    inputs.rename(tmp_path / "data")
    targets.rename(tmp_path / "gt")
    for folder, word in (("data", "rain"), ("gt", "clean")):
        for number, name in enumerate("ab"):
            (tmp_path / folder / f"{name}.png").rename(tmp_path / folder / f"{number}_{word}.png")
    arguments = ("--data", tmp_path, "--bundle", tiny_bundle)
    plain = lorair_bench("quality", *arguments)
    assert plain.code == 2
    assert "found none for 0_rain.png, 1_rain.png; a picture" in plain.error
    rest = ("--dataset", "raindrop", "--expert", "rain", "--report", tmp_path / "r.json")
    result = lorair_bench("quality", *arguments, *rest)
    assert result.code == 0, result.err
    assert "33.39" in result.out
    assert "of 58 pictures, where this run has 2" in result.out
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["published"]["psnr"] == 33.39
    assert {p["route"] for p in document["pictures"]} == {"rain"}
    assert [p["name"] for p in document["pictures"]] == ["0_rain", "1_rain"]
    for when in ("before", "after"):
        assert document["mean"][when]["psnr_authors"] > 0


def test_the_router_s_accuracy_by_folders_named_for_classes() -> None:
    file = Path(__file__).parents[3] / "benchmarks" / "results" / "quality-default.json"
    report = read_report(file)
    assert isinstance(report, QualityReport)
    content = json.loads(file.read_text())
    right = sum(p["name"].split("/")[0] == p["route"] for p in content["pictures"])
    said = router_accuracy(report)
    assert said is not None
    assert said.startswith(f"the router is right on {right} of {len(content['pictures'])} ")
    assert said in list(quality_shown(report))
    chosen = report.model_copy(update={"settings": {**report.settings, "expert": "snow"}})
    assert router_accuracy(chosen) is None
    renamed = [p.model_copy(update={"name": f"x{p.name}"}) for p in report.pictures]
    groups = {f"x{name}": mean for name, mean in report.groups.items()}
    other = report.model_copy(update={"pictures": tuple(renamed), "groups": groups})
    assert router_accuracy(other) is None


def test_several_data_folders(
    lorair_bench: Command, tiny_bundle: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    sets = [tmp_path / "one", tmp_path / "two"]
    for data in sets:
        data.mkdir()
        for folder in folders:
            (data / folder.name).symlink_to(folder)
    given = [word for data in sets for word in ("--data", data)]
    report = tmp_path / "r.json"
    arguments = (*given, "--bundle", tiny_bundle, "--previews", 2, "--report", report)
    result = lorair_bench("quality", *arguments)
    assert result.code == 0, result.err
    assert "Means by data folder" in result.out
    document = read_report(report)
    assert document.kind == "quality"
    assert [p.name for p in document.pictures] == ["one/a", "one/b", "two/a", "two/b"]
    assert document.groups["one"] == document.groups["two"]
    assert document.mean is not None
    assert document.groups["one"].after.psnr == pytest.approx(document.mean.after.psnr)
    assert [p.preview is not None for p in document.pictures] == [True, False, True, False]
    shown = document.pictures[0].preview
    assert shown is not None
    for text, folder in ((shown.degraded, "input"), (shown.truth, "target")):
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            assert (image.format, image.size) == ("JPEG", (90, 60))
            error = np.asarray(image, float) - np.asarray(Image.open(sets[0] / folder / "a.png"))
            assert np.abs(error).mean() < 20, "the picture itself, but for JPEG"


def test_previews_are_small_and_spread(photo: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1400, 3), dtype=np.uint8)
    for pixels in (noise, photo):
        texts = preview(pixels, pixels, pixels).model_dump()
        assert texts.pop("format") == "jpeg"
        assert sum(len(base64.b64decode(t)) for t in texts.values()) <= MOST_BYTES
    pairs = [PicturePair(Path("x"), Path("y"), group) for group in "aaaaabcccc"]
    assert spread(pairs, 0) == set()
    assert spread(pairs, 3) == {0, 5, 6}
    assert len(spread(pairs, 6)) == 6
    assert spread(pairs, 99) == set(range(10))
    assert spread(pairs[:4], 2) == {0, 2}


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
