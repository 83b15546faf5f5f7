"""Fuzz `images.read`, and `images.write` of what it read, guided by coverage of Pillow and ours.

    python tests/fuzz/pictures.py -max_total_time=600 -timeout=5 -rss_limit_mb=1024 CORPUS_DIR

needs `pip install atheris`. The hostile files are the seeds. What it finds goes into
`tests/support/hostile.py`.
"""

import contextlib
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
with atheris.instrument_imports(include=["PIL", "lorair.runtime.images"]):
    import hostile
    from PIL import PngImagePlugin

    from lorair.runtime import images
    from lorair.runtime.errors import OutOfMemoryError, OutputError, PictureError

_MAX_SEED, _MAX_PIXELS, _MAX_WRITTEN = 2**15, 40_000_000, 100_000


def seed(corpus: Path) -> None:
    """Put the hostile files that are short enough into a corpus."""
    for name, make in hostile.FILES.items():
        content = make()
        if len(content) <= _MAX_SEED:
            (corpus / name).write_bytes(content)


def fuzz(seed: Callable[[Path], None]) -> None:
    """Seed the corpus that the command names, and fuzz until libFuzzer ends."""
    warnings.simplefilter("ignore")
    # No mutation hits a chunk's checksum.
    PngImagePlugin.ChunkStream.crc = PngImagePlugin.ChunkStream.crc_skip  # type: ignore[method-assign]
    for argument in sys.argv[1:]:
        if not argument.startswith("-") and not Path(argument).is_file():
            Path(argument).mkdir(parents=True, exist_ok=True)
            seed(Path(argument))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")

        def once(content: bytes) -> None:
            source.write_bytes(content)
            try:
                picture = images.read(source, _MAX_PIXELS)
            except PictureError as error:
                if isinstance(error.__cause__, AssertionError | NameError | RecursionError):
                    raise
                return
            except OutOfMemoryError:
                raise
            if picture.pixels.size <= _MAX_WRITTEN:
                for ending in (".tiff", ".png", ".jpg", ".webp"):
                    with contextlib.suppress(OutputError):
                        images.write(target.with_suffix(ending), picture)

        atheris.Setup(sys.argv, once)
        atheris.Fuzz()


if __name__ == "__main__":
    fuzz(seed)
