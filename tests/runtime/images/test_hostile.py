"""Small files that are made to hurt: none may cost a second of CPU or 300 MB.

A processor that others use too counts a second as up to three: tests/support/hostile.py, run by
itself on a quiet machine, shows what each file costs.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import pytest
from PIL import Image

from lorair.runtime import images
from lorair.runtime.errors import OutOfMemoryError


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, object]]:
    """Of reading each file, and writing it in every format, in a process of its own."""
    script = [sys.executable, "-W", "ignore", str(Path(hostile.__file__))]
    done = subprocess.run(script, capture_output=True, check=True, text=True)
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", hostile.FILES)
def test_what_it_costs(name: str, costs: dict[str, dict[str, object]]) -> None:
    found = costs[name]
    assert str(found["words"]).startswith(("PictureError", "(")), found
    assert found["seconds"] <= 3, found  # type: ignore[operator]
    assert found["megabytes"] <= 300, found  # type: ignore[operator]


def test_no_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(hostile.saved("PNG"))
    monkeypatch.setattr(Image, "open", _exhausted)
    with pytest.raises(OutOfMemoryError, match=r"no memory to read .*a\.png"):
        images.read(path)


def _exhausted(*_: object, **__: object) -> None:
    raise MemoryError


def test_readers_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one file is opened another is read, and Pillow's limit comes back at the end."""
    path = tmp_path / "a.png"
    path.write_bytes(hostile.saved("PNG"))
    limit, real, within = Image.MAX_IMAGE_PIXELS, Image.open, []

    def opened(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(Image, "open", real)
        with ThreadPoolExecutor(1) as pool:
            within.append(pool.submit(images.read, path).result(timeout=60))
        assert Image.MAX_IMAGE_PIXELS is None
        return real(*arguments, **options)

    monkeypatch.setattr(Image, "open", opened)
    images.read(path)
    assert isinstance(within[0], images.Picture)
    assert limit == Image.MAX_IMAGE_PIXELS
