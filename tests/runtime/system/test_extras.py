"""Hints that work where lorair is, which no index may have."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from lorair.runtime.system import extras

Hint = Callable[..., str]


@pytest.fixture
def hint(monkeypatch: pytest.MonkeyPatch) -> Hint:
    """What `install_command` says if pip noted this about the installation."""

    def say(origin: dict[str, object] | None, pip: str | None = None) -> str:
        text = None if origin is None else json.dumps(origin)
        found = SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else None)
        monkeypatch.setattr(extras, "distribution", lambda name: found)
        monkeypatch.setattr(extras.shutil, "which", lambda name: pip)
        return extras.install_command("cpu,video")

    return say


def test_from_a_folder_or_a_wheel(hint: Hint, tmp_path: Path) -> None:
    folder = tmp_path / "my lorair"
    folder.mkdir()
    assert hint({"url": folder.as_uri(), "dir_info": {}}).endswith(
        f" -m pip install '{folder}[cpu,video]'"
    )
    editable = hint({"url": folder.as_uri(), "dir_info": {"editable": True}})
    assert editable.endswith(f" install -e '{folder}[cpu,video]'")
    folder.rmdir()
    assert hint({"url": folder.as_uri(), "dir_info": {}}).endswith(" 'lorair[cpu,video]'")


def test_from_elsewhere(hint: Hint) -> None:
    vcs = {"vcs": "git", "commit_id": "a1b2"}
    for origin, url in (
        ({"url": "https://host/x.git", "vcs_info": vcs}, "git+https://host/x.git@a1b2"),
        ({"url": "https://host/x.whl", "archive_info": {}}, "https://host/x.whl"),
        (None, None),
    ):
        quoted = hint(origin).partition(" install ")[2]
        requirement = Requirement(quoted.strip("'"))
        assert (requirement.name, requirement.extras) == ("lorair", {"cpu", "video"})
        assert requirement.url == url


def test_by_the_pip_of_this_python(hint: Hint) -> None:
    here = Path(sys.executable).with_name("pip")
    assert hint(None, str(here)) == "pip install 'lorair[cpu,video]'"
    for other in ("/somewhere/pip", None):
        assert hint(None, other) == f"{sys.executable} -m pip install 'lorair[cpu,video]'"
