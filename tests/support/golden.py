"""The golden cases: what the authors' released inference computes, where they are at hand."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "golden"
NAMES = ("top1_of_3", "top2_of_4")

needs_golden = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the golden cases are not at hand (../shared/golden)"
)


@dataclass(frozen=True)
class GoldenCase:
    """One recorded run: checkpoints, picture, and every intermediate result."""

    folder: Path
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def top_k(self) -> int:
        return int(self.config["network"]["top_k"])

    @property
    def picture(self) -> Path:
        return self.folder / "input.png"


def load_case(name: str) -> GoldenCase:
    folder = FOLDER / name
    with np.load(folder / "golden.npz") as arrays:
        return GoldenCase(folder, json.loads((folder / "config.json").read_text()), dict(arrays))
