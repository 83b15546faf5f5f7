"""The code in docs/python.md runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_s_code_runs(
    tiny_bundle: Path, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) >= 6
    (tmp_path / "bundle").symlink_to(tiny_bundle)
    Image.fromarray(photo[:60, :80]).save(tmp_path / "photo.png")
    Image.fromarray(photo[60:110, :70]).save(tmp_path / "other.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    assert (tmp_path / "photo.restored.png").exists()
