"""The script of `make gpu-check`, with parts that pass, fail, hang, crash and are not there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import gpu_check
import gpu_wheels
import pytest
from gpu_check import Part

TEST = """
import pytest
def test_good(): pass
def test_bad(): assert WRONG
def test_left(): pytest.skip("for a reason")
"""


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def made_up(folder: Path) -> list[Part]:
    for name, wrong in (("good", 1), ("bad", 0)):
        (folder / f"test_{name}.py").write_text(TEST.replace("WRONG", str(wrong)))
    pytest_at = (sys.executable, "-m", "pytest", "-c", os.devnull, "--junitxml={junit}")
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # importing them takes longer than the run
    return [
        Part("passes", python("import json; json.dump(dict(ms=1), open('{report}', 'w'))"), 60),
        Part("fails", python("import sys; print('words'); sys.exit(3)"), 60),
        Part("hangs", python("import time; time.sleep(99)"), 1),
        Part("crashes", python("import os; os.kill(os.getpid(), 9)"), 60),
        Part("is not there", ("no-such-program",), 60),
        Part("lacks something", python("1/0"), 60, lambda: "it needs more"),
        Part("tests pass", (*pytest_at, f"{folder}/test_good.py"), 60, environment=alone),
        Part("tests fail", (*pytest_at, f"{folder}/test_bad.py"), 60, environment=alone),
    ]  # fmt: skip


WANTED = {
    "passes": ("passed", ""),
    "fails": ("failed", "exit code 3"),
    "hangs": ("failed", "killed: it took too long"),
    "crashes": ("failed", "it died of signal 9"),
    "is not there": ("failed", "exit code 127"),
    "lacks something": ("skipped", "it needs more"),
    "tests pass": ("passed", "3 tests, 1 skipped: for a reason"),
    "tests fail": ("failed", "1 of 3 tests"),
}


def test_all_parts_are_run_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert not gpu_check.run_all(made_up(tmp_path), out, 300, {"gpu": "none"})
    results = json.loads((out / "results.json").read_text())
    found = {part["name"]: (part["status"], part["why"]) for part in results["parts"]}
    assert found == WANTED
    assert results["parts"][0]["report"] == {"ms": 1}
    root = ElementTree.parse(out / "junit.xml").getroot()
    assert [suite.get("name") for suite in root] == ["pytest", "pytest", "parts"]
    assert len(root[-1].findall("testcase/failure")) == 5
    log = (out / "log.txt").read_text()
    assert "words" in log
    assert "2 passed, 5 failed, 1 skipped" in capsys.readouterr().out


def test_none_begins_without_time(tmp_path: Path) -> None:
    parts = [Part("late", python("raise SystemExit(1)"), 60)]
    assert gpu_check.run_all(parts, tmp_path, 0, {})
    (one,) = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert (one["status"], one["why"]) == ("skipped", "no time was left")


def test_every_part_names_files_that_are_there() -> None:
    for part in gpu_check.parts(is_driver=False):
        for word in part.command:
            if word.startswith("tests/"):
                assert (gpu_check.ROOT / word).exists(), part.name


def test_wheels_go_into_parts() -> None:
    needed = {"big-one": "1.0", "small-one": "2.0"}
    assert gpu_wheels.missing(needed, "Big_One==0.9\nother==1\n") == {"small-one": "2.0"}
    sizes = {Path(name): size for name, size in zip("abcdef", (50, 30, 30, 10, 61, 1), strict=True)}
    parts, large = gpu_wheels.into_parts(sizes, 60)
    assert [sorted(map(str, part)) for part in parts] == [["a", "d"], ["b", "c"], ["f"]]
    assert large == [Path("e")]
    assert {"numpy", "torch", "cuda-core", "pytest"} <= set(gpu_wheels.closure(gpu_wheels.NEEDED))


def test_lorair_is_there_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    gpu_check.make_importable(tmp_path)
    code = "import lorair.kernels.spec as s; print(s.__file__, __import__('lorair').__version__)"
    command = [sys.executable, "-P", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.startswith(str(tmp_path / "lorair" / "kernels"))
