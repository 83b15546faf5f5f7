import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_has_its_original_and_its_provenance() -> None:
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    for kind in ("snow", "rain", "raindrop"):
        sizes = set()
        for name in (f"{kind}.jpg", f"{kind}.clean.jpg"):
            assert f"`{name}`" in readme
            with Image.open(EXAMPLES / name) as image:
                sizes.add(image.size)
        assert len(sizes) == 1


def test_compare_puts_two_pictures_side_by_side(tmp_path: Path) -> None:
    for name, value in (("a", 10), ("b", 200)):
        Image.new("RGB", (30, 20), (value,) * 3).save(tmp_path / f"{name}.png")
    files = (tmp_path / "a.png", tmp_path / "b.png", tmp_path / "both.png")
    subprocess.run([sys.executable, EXAMPLES / "compare.py", *files], check=True)
    both = np.asarray(Image.open(files[2]))
    assert both.shape == (20, 68, 3)
    assert (both[:, :30] == 10).all()
    assert (both[:, 30:38] == 255).all()
    assert (both[:, 38:] == 200).all()
