"""README's, docs/serve.md's and docs/python.md's commands as they stand, with lorair from a wheel.

Its environment is fresh; third parties' packages in it are this one's.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

COMMAND = re.compile(
    r"^(?:\$ | {4})?((?:lorair-\w+|curl|make|pip|podman) .+?)(?: {2,}#.*)?$"
    r"|`((?:lorair-\w+|make|pip install) [^`]+)`",
    re.MULTILINE,
)
LEFT_OUT = {
    "make ": "it makes an environment, from the network",
    "pip install": "from the network; `make dist` does it",
    "podman": "it wants a container engine",
    "lorair-export build": "half a minute; tests/exporter/commands has it",
    "lorair-bench latency": "a minute",
    "lorair-run --install-completion": "it changes the user's shell",
}
"""How commands begin that do not run here, and why."""

NOT_SHARED = ("lorair", "__editable__", "openvino")
"""Packages that the fresh environment has not: with OpenVINO all takes twice the time."""

NAMED = {"lorair-run infer", "lorair-run route"}
"""Commands that a sentence names, without what they want."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's commands into which the project's wheel was installed."""
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    for name in ("lorair", "runtime", "exporter", "kernels", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE", "docs/package.md"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    stored = {"--build-option": ["--compression=stored"]}
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r}, {stored})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    venv.create(folder / "venv", symlinks=True)
    (site,) = folder.glob("venv/lib/*/site-packages")
    for shared in (Path(path) for path in sys.path if path.endswith("site-packages")):
        for entry in shared.iterdir():
            if not entry.name.startswith(NOT_SHARED) and entry.suffix != ".pth":
                with contextlib.suppress(FileExistsError):
                    (site / entry.name).symlink_to(entry)
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    options = ("--no-deps", "--no-index", "--no-compile", "-q", "--disable-pip-version-check")
    subprocess.run([python, "-m", "pip", "install", *options, wheel], check=True)
    return python.parent


@pytest.fixture(scope="module")
def place(tiny_bundle: Path, photo: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the documents name."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("walk")
    shutil.copytree(tiny_bundle, folder / "bundle")
    (folder / "photos" / "more").mkdir(parents=True)
    for name in ("img.png", "photo.png", "other.png", "photos/a.jpg", "photos/more/b.png"):
        Image.fromarray(photo[:64, :80]).save(folder / name)
    with av.open(str(folder / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("libx264", 10, width=80, height=64)
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(photo[:64, :80]))
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode())
    return folder


def lines(page: str) -> list[str]:
    """The page's commands that run here."""
    found = [one[1] or one[2] for one in COMMAND.finditer((ROOT / page).read_text("utf-8"))]
    return [line for line in found if line not in NAMED and not line.startswith(tuple(LEFT_OUT))]


def environment(commands: Path) -> dict[str, str]:
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def run(line: str, commands: Path, place: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", line], cwd=place, env=environment(commands), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def test_readme(commands: Path, place: Path) -> None:
    walked = [line for line in lines("README.md") if line != "lorair-run serve"]
    assert len(walked) >= 4
    out = [run(line, commands, place) for line in walked]
    assert "img.png -> img.restored.png" in out[0]
    assert (place / "restored" / "more" / "b.restored.png").is_file()
    assert (place / "clip.restored.mp4").is_file()
    assert "--backend auto is onnxruntime" in out[-1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")
def test_serve(commands: Path, tmp_path: Path) -> None:
    """On a free port instead of 8000, which another test may have."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "rain.jpg", tmp_path / "examples")
    start, *curls = lines("docs/serve.md")
    server = subprocess.Popen(
        shlex.split(f"{commands}/{start} --port 0"), cwd=tmp_path, env=environment(commands),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        (address,) = re.findall(r"127\.0\.0\.1:\d+", said)
        out = [run(line.replace("localhost:8000", address), commands, tmp_path) for line in curls]
    finally:
        server.terminate()
        server.communicate()
    for name in ("rain.restored.png", "rain.jpg"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (480, 320)
    assert json.loads(out[-1])["class"] == "rain"
    assert server.returncode == 0


def test_python(commands: Path, place: Path) -> None:
    """The blocks one after the other, the server's last."""
    blocks = []
    for page in ("docs/python.md", "README.md", "docs/serve.md"):
        text = (ROOT / page).read_text("utf-8")
        fences = re.findall(r"^```(python)?\n(.*?)^```$", text, re.M | re.S)
        blocks += [code for kind, code in fences if kind or code.startswith("from ")]
    assert len(blocks) >= 9
    (place / "bundle").rename(place / "lorair-bundle")
    (place / "bundle").symlink_to("lorair-bundle")
    (place / "walk.py").write_text("\n".join([*blocks, "service.close(60)"]))
    assert "cannot read missing.png" in run("python walk.py", commands, place)
    assert (place / "photo.restored.png").is_file()
    assert str(commands.parent) in run(
        "python -c 'import lorair.runtime as r; print(r)'", commands, place
    )
