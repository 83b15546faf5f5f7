"""The pictures of a folder."""

from pathlib import Path

from lorair.runtime.errors import OptionError
from lorair.runtime.images import WRITABLE


def pictures_in(folder: Path) -> list[Path]:
    """Those in a folder, by name; for the option --images.

    Raises:
        OptionError: there are none.
    """
    pictures = []
    if folder.is_dir():
        pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in WRITABLE)
    if not pictures:
        raise OptionError(
            "--images",
            wanted=f"a folder with pictures ({', '.join(WRITABLE)})",
            found=f"none in {folder}",
            hint="leave it out for the shipped ones",
        )
    return pictures
