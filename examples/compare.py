"""Before and after in one picture: `python examples/compare.py BEFORE AFTER OUTPUT`."""

import sys
from pathlib import Path

from PIL import Image

GAP = 8
"""White pixels between the two."""


def side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    """Two pictures of one height, the first on the left."""
    width = before.width + GAP + after.width
    both = Image.new("RGB", (width, max(before.height, after.height)), "white")
    both.paste(before, (0, 0))
    both.paste(after, (before.width + GAP, 0))
    return both


if __name__ == "__main__":
    first, second, output = map(Path, sys.argv[1:4])
    with Image.open(first) as before, Image.open(second) as after:
        side_by_side(before.convert("RGB"), after.convert("RGB")).save(output)
