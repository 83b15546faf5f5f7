"""Three small real photographs, on which every bundle is verified. Licences: README.md."""

from importlib.resources import as_file, files
from pathlib import Path

NAMES = ("astronaut.jpg", "coffee.jpg", "chelsea.jpg")


def paths() -> list[Path]:
    """Return the photographs' files."""
    out = []
    for name in NAMES:
        with as_file(files(__name__) / name) as path:
            out.append(path)
    return out
