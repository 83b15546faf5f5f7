from pathlib import Path

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
