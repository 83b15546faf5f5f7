"""What this project adds to pytest, in runs of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import LIMIT

SUPPORT = Path(__file__).parents[1] / "support"
_NO_OTHERS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # importing them takes longer than the run


def run(folder: Path, hooks: str, *options: str, **environment: str) -> tuple[int, str]:
    """The exit code and what is printed."""
    (folder / "conftest.py").write_text(f"from {hooks}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, folder],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), **_NO_OTHERS, **environment},
        cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    return done.returncode, done.stdout


AT_A_TEST = """
import os
def test_a(): os.kill(os.getpid(), 9)
def test_b(): pass
"""

AFTER_THE_LAST = """
import os
class Dies:
    def pytest_sessionfinish(self): os.kill(os.getpid(), 9)
def test_a(pytestconfig): pytestconfig.pluginmanager.register(Dies())
"""


@pytest.mark.parametrize("test", [AT_A_TEST, AFTER_THE_LAST], ids=["at", "after"])
def test_a_killed_worker_is_a_failure(test: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(test)
    options = ("-p", "xdist.plugin", "-n", "1", "--dist", "loadfile", "--max-worker-restart", "0")
    code, out = run(tmp_path, "workers import *", *options)
    assert code == 1, out
    assert "node down" in out


@pytest.mark.parametrize(
    ("reason", "ci", "outcome"),
    [
        ("no Chromium is installed", "true", "1 failed, 2 errors"),
        ("no Chromium is installed", "", "3 skipped"),
        ("there is no NVIDIA driver", "true", "3 skipped"),
    ],
)
def test_skips_in_ci(reason: str, ci: str, outcome: str, tmp_path: Path) -> None:
    """Called, as a mark, and of a whole file."""
    skip = f"import pytest\npytest.skip({reason!r}, allow_module_level=True)"
    (tmp_path / "test_file.py").write_text(skip)
    marked = f"@pytest.mark.skip({reason!r})\ndef test_a(): pass"
    called = f"def test_b(): pytest.skip({reason!r})"
    (tmp_path / "test_two.py").write_text(f"import pytest\n{marked}\n{called}")
    _, out = run(tmp_path, "skips import *", "--continue-on-collection-errors", CI=ci)
    assert f" {outcome} in " in out
