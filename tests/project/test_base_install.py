"""What works with the base install alone: everything else is hidden from the interpreter."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def base_distributions() -> set[str]:
    """lorair, what it requires without extras, and what that requires."""
    found: set[str] = set()
    queue = ["lorair"]
    while queue:
        name = canonicalize_name(queue.pop())
        if name in found:
            continue
        found.add(name)
        requirements = map(Requirement, requires(name) or [])
        queue += [r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def preamble() -> str:
    base = base_distributions()
    assert {"numpy", "pillow", "pydantic", "rich", "typer"} <= base
    assert not base & {"torch", "onnx", "onnxruntime", "pyyaml"}
    hidden = {
        module
        for module, owners in packages_distributions().items()
        if not set(map(canonicalize_name, owners)) & base
    }
    assert {"torch", "onnx", "onnxruntime", "yaml"} <= hidden
    return _HIDE.format(hidden=hidden)


def run(preamble: str, module: str, *lines: list[str]) -> subprocess.CompletedProcess[str]:
    """Command lines, one after the other in a process, until one fails."""
    code = f"""{preamble}
from {module} import main
for line in {lines!r}:
    sys.argv = ["lorair", *line]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "commands"),
    [
        ("lorair.runtime.commands.main", ["batch", "infer", "route", "serve", "video"]),
        (
            "lorair.exporter.commands.main",
            ["build", "engine", "inspect", "synth", "triton", "verify"],
        ),
        ("lorair.benchmarks.commands.main", ["latency", "report"]),
    ],
)
def test_help_works(module: str, commands: list[str], preamble: str) -> None:
    done = run(preamble, module, ["--help"], *([command, "--help"] for command in commands))
    assert done.returncode == 0, done.stderr
    overview, *helps = re.split(r"Usage: ", done.stdout)[1:]
    assert len(helps) == len(commands)
    for command, text in zip(commands, helps, strict=True):
        assert command in overview
        assert command in text.partition("\n")[0]


def test_a_bundle_can_be_inspected(tiny_bundle: Path, preamble: str) -> None:
    line = ["inspect", str(tiny_bundle), "--verify"]
    done = run(preamble, "lorair.exporter.commands.main", line)
    assert done.returncode == 0, done.stderr
    assert "snow, rain, raindrop" in done.stdout


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("lorair.runtime.commands.main", ["infer", "{picture}", "-b", "{bundle}"], "[cpu]"),
        ("lorair.runtime.commands.main", ["serve", "-b", "{bundle}"], "[serve]"),
        ("lorair.exporter.commands.main", ["build", "-o", "{bundle}2"], "[export,cpu]"),
        ("lorair.exporter.commands.main", ["engine", "{bundle}"], "[export,cpu]"),
        ("lorair.exporter.commands.main", ["verify", "{bundle}"], "[verify]"),
        ("lorair.benchmarks.commands.main", ["report", "{bundle}/manifest.json"], "[bench]"),
        # Not the rest of it: backends open in child processes, where nothing is hidden.
    ],
)
def test_a_missing_extra_is_named(
    module: str,
    arguments: list[str],
    extra: str,
    tiny_bundle: Path,
    picture_file: Path,
    preamble: str,
) -> None:
    filled = [a.format(picture=picture_file, bundle=tiny_bundle) for a in arguments]
    done = run(preamble, module, filled)
    assert done.returncode == 2
    assert re.search(rf"pip install \S.*{re.escape(extra)}'", done.stderr)
    assert "Traceback" not in done.stderr
