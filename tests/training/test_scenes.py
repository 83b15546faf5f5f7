import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorair.exporter import demo
from lorair.runtime.errors import PictureError
from training import photographs, scenes


def test_held_out_photographs_are_not_trained_on() -> None:
    assert len(scenes.HELD_OUT_PHOTOS) >= 5
    assert not set(scenes.HELD_OUT_PHOTOS) & set(scenes.TRAINING_PHOTOS)
    trained = {photographs.PHOTOGRAPHS[name].path for name in photographs.PHOTOGRAPHS}
    held_out = {photograph.path for photograph in photographs.HELD_OUT.values()}
    assert len(held_out) >= 6
    assert not held_out & trained
    assert not set(scenes.training_photos()) & {*scenes.VALIDATION_PHOTOS, *photographs.HELD_OUT}


def test_every_photograph_is_in_the_card() -> None:
    card = demo.paths()[0].with_name("MODEL_CARD.md").read_text("utf-8")
    for name, photograph in (photographs.PHOTOGRAPHS | photographs.HELD_OUT).items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
        assert photograph.author in row
        assert photograph.licence in row
        assert Path(photograph.path).stem in row


def test_a_photograph_that_is_not_there_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "FOLDER", tmp_path)
    with pytest.raises(PictureError, match=r"python -m training\.photographs"):
        photographs.read("kite", 0.1)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg")
def test_packages_are_unpacked_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kite = photographs.PHOTOGRAPHS["kite"]
    root = tmp_path / "root"
    file = root / kite.path
    file.parent.mkdir(parents=True)
    Image.new("RGB", (80, 50), (9, 90, 200)).save(file)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {kite.package}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    )
    deb = tmp_path / f"{kite.package}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(root), str(deb)], check=True, capture_output=True)
    monkeypatch.setattr(photographs, "FOLDER", tmp_path / "unpacked")
    photographs.unpack(kite.package, tmp_path)
    assert photographs.read.__wrapped__("kite", 0.001).shape == (25, 40, 3)


@pytest.mark.parametrize("name", scenes.TRAINING_PHOTOS + scenes.HELD_OUT_PHOTOS)
def test_photographs_are_in_the_wheel_and_8_bit_rgb(name: str) -> None:
    pixels = scenes.photograph(name)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.max() > 150


@pytest.mark.parametrize("draw", [scenes.dead_leaves, scenes.photo_crop, scenes.scene])
def test_scenes_repeat_and_are_pictures(draw: object) -> None:
    assert callable(draw)
    first, again, other = (draw(np.random.default_rng(s), 96) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1


def test_dead_leaves_scale_like_photographs() -> None:
    """Natural pictures' spectra fall with frequency to a power around -2 (power, not size)."""
    slopes = []
    for seed in range(6):
        grey = scenes.dead_leaves(np.random.default_rng(seed), 128).mean(2)
        window = np.hanning(128)[:, None] * np.hanning(128)
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
        bands = [(frequency >= low) & (frequency < 1.5 * low) for low in (0.04, 0.2)]
        low, high = (np.log(power[band].mean()) for band in bands)
        slopes.append((high - low) / np.log(0.2 / 0.04))
    assert -4.0 < np.mean(slopes) < -1.2
