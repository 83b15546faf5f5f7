"""Pictures to time on: `python -m lorair.benchmarks.docs.pictures pieces DIR`.

Made of the photographs that scikit-image carries (public domain or CC0), always the same.
"""

import sys
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

PHOTOGRAPHS: Final = ("astronaut", "coffee", "chelsea", "rocket")
PIECES: Final = 24


def pieces(folder: Path) -> None:
    """24 pieces of photographs, 256 to 512 pixels a side where they are large enough."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(PIECES):
        photograph = _photograph(PHOTOGRAPHS[index % len(PHOTOGRAPHS)])
        wanted = generator.integers(256, 513, 2)
        width, height = (min(int(w), side) for w, side in zip(wanted, photograph.size, strict=True))
        left = int(generator.integers(0, photograph.width - width + 1))
        top = int(generator.integers(0, photograph.height - height + 1))
        piece = photograph.crop((left, top, left + width, top + height))
        piece.save(folder / f"{index:02}.png")


def square(side: int, path: Path) -> None:
    """The astronaut, scaled to a square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _photograph("astronaut").resize((side, side), Image.Resampling.BICUBIC).save(path)


def clip(path: Path) -> None:
    """Five frames of 256x256 that pan over the astronaut, five a second."""
    import av

    photograph = _photograph("astronaut")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for index in range(5):
            piece = photograph.crop((5 * index, 0, 5 * index + 256, 256))
            frame = av.VideoFrame.from_ndarray(np.asarray(piece), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _photograph(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(getattr(data, name)())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pieces", folder]:
            pieces(Path(folder))
        case ["square", side, path]:
            square(int(side), Path(path))
        case ["clip", path]:
            clip(Path(path))
        case _:
            sys.exit(f"{__doc__}\nwanted: pieces DIR, square SIDE FILE, or clip FILE")
