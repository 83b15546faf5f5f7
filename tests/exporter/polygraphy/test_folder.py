"""The folder for Polygraphy: its README's commands, run by the real tools on the default model."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command import Command
from commands_of_tools import environment_with_tools
from onnx import numpy_helper
from PIL import Image

from lorair.exporter.engines import worker as engine_worker
from lorair.exporter.engines.build import dependencies
from lorair.exporter.engines.sizes import Sizes
from lorair.exporter.polygraphy.folder import write
from lorair.runtime.bundle.manifest import Bundle

for tool in ("polygraphy", "onnx_graphsurgeon", "onnxslim"):
    pytest.importorskip(tool)

Run = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(
    default_bundle: Path, photo: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of one small photograph."""
    place = tmp_path_factory.mktemp("polygraphy")
    Image.fromarray(photo[:70, :90]).save(place / "photo.png")
    write(Bundle.open(default_bundle), place / "folder", [place / "photo.png"])
    return place / "folder"


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a line in the folder, for which neither lorair nor PyTorch exists."""
    environment = environment_with_tools(tmp_path_factory.mktemp("bin"))
    # What a line puts before the path stays before the tests' own.
    packages = os.environ.get("PYTHONPATH", "")

    def run_line(line: str) -> subprocess.CompletedProcess[str]:
        rtx = (
            {"POLYGRAPHY_USE_TENSORRT_RTX": "1"}
            if "--display-as=trt" in line or " convert " in line
            else {}
        )
        line = line.replace("PYTHONPATH=rtx", f"PYTHONPATH=rtx{os.pathsep}{packages}")
        return subprocess.run(
            ["sh", "-c", line], cwd=folder, env=environment | rtx, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    return run_line


def lines(folder: Path, *, on_gpu: bool = False) -> list[str]:
    """The README's commands that need no GPU, or those that do."""
    text = (folder / "README.md").read_text("utf-8").partition("## On a GPU")[2 * on_gpu]
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if "export" not in line]


def change(graph: Path, name: str, to: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the one initializer whose name ends so."""
    model = onnx.load(graph)
    (tensor,) = (one for one in model.graph.initializer if one.name.endswith(name))
    tensor.CopyFrom(numpy_helper.from_array(to(numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, graph)


@pytest.fixture(scope="module")
def said(folder: Path, run: Run) -> dict[str, str]:
    """What each command of the README printed, but for the search, which has nothing to find."""
    out = {}
    for line in lines(folder):
        if not line.startswith("polygraphy debug reduce"):
            done = run(line)
            assert done.returncode == 0, f"{line}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
            out[line] = done.stdout
    return out


def test_every_command_of_the_readme(folder: Path, said: dict[str, str]) -> None:
    commands = {" ".join(line.removeprefix("PYTHONPATH=rtx ").split()[:2]) for line in said}
    named = ("inspect", "check", "surgeon", "run", "convert")
    assert commands >= {f"polygraphy {name}" for name in named}
    compared = [text for line, text in said.items() if "--load-outputs" in line]
    assert len(compared) == 2
    assert all("Passed: 1/1 iterations" in text for text in compared)
    onnx.checker.check_model(folder / "router.folded.onnx", full_check=True)


def test_every_command_for_a_gpu(folder: Path, said: dict[str, str], run: Run) -> None:
    """TensorRT against what ONNX Runtime said; it has not run yet."""
    if find_spec("tensorrt") is None:
        pytest.skip("the package tensorrt is not installed")
    commands = lines(folder, on_gpu=True)
    assert len(commands) == 2
    for line in commands:
        done = run(line)
        assert done.returncode == 0, f"{line}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        assert "Passed: 1/1 iterations" in done.stdout


def test_a_grey_level_is_what_it_fails_by(folder: Path, run: Run, said: dict[str, str]) -> None:
    (compare,) = (line for line in said if "run restorer.onnx" in line and "--load" in line)
    shutil.copy(folder / "restorer.onnx", folder / "other.onnx")
    for code in (0, 1):  # half a level is less than one, and a whole one more is more
        step = (0.5 + code) / 255
        change(folder / "other.onnx", "ending.conv.bias", partial(np.add, np.float32(step)))
        done = run(compare.replace("restorer.onnx", "other.onnx"))
        assert done.returncode == code, done.stdout[-2000:]


def test_reduce_finds_the_product_that_overflows(folder: Path, run: Run) -> None:
    """Each of its steps runs the check; the README's loads ONNX Runtime: `make tools-check`."""
    slim, reduce = (line for line in lines(folder) if "router.static.onnx" in line)
    assert run(slim).returncode == 0
    nodes = onnx.load(folder / "router.static.onnx").graph.node
    (product,) = (node for node in nodes if node.name.endswith("layers.1.mlp.fc1/MatMul"))
    change(folder / "router.static.onnx", product.input[1], lambda w: np.full_like(w, 3e38))
    if os.environ.get("LORAIR_TOOLS") != "all":
        planted = np.full(4, 3e38, np.float32).tobytes().hex()
        content = "open('polygraphy_debug.onnx', 'rb').read()"
        check = f"import sys; sys.exit(bytes.fromhex('{planted}') in {content})"
        reduce = f'{reduce.partition("--check")[0]} --check {sys.executable} -S -c "{check}"'
    done = run(reduce)
    assert done.returncode == 0, done.stdout[-2000:]
    (node,) = onnx.load(folder / "reduced.onnx").graph.node
    assert node.name == product.name


def test_its_engine_is_the_one_that_lorair_builds(
    folder: Path, said: dict[str, str], default_bundle: Path, tmp_path: Path
) -> None:
    """Through Polygraphy's loaders: the same layers, types and size.

    Not the same bytes: the library writes the outputs in one order or another.
    """
    trt: Any = pytest.importorskip("tensorrt_rtx")
    (text,) = (text for line, text in said.items() if "--display-as=trt" in line)
    graph, output = folder / "router.onnx", tmp_path / "router.engine"
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network, _parser = engine_worker.parse(trt, builder, graph.read_bytes(), graph, "router")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    assert len(layers) > 300
    found = re.findall(r"Layer \d+ +\| (.+?) \[Op: .+?-> \{.*?dtype=(\w+)", text, re.S)
    outputs = ((layer.name, layer.get_output(0).dtype) for layer in layers)
    assert found == [(name, np.dtype(trt.nptype(kind)).name) for name, kind in outputs]
    depends = dependencies(Bundle.open(default_bundle), "tensorrt-rtx", Sizes(), ())[0]
    job = engine_worker.Job(depends=depends, graph=graph, model=graph, output=output)
    engine_worker.build(job, lambda *_: None)
    assert (folder / "router.engine").stat().st_size == output.stat().st_size


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, lorair_export: Command
) -> None:
    (tmp_path / "mine").touch()
    done = lorair_export("polygraphy", "default", "-o", tmp_path)
    assert done.code == 2
    assert "wanted a new or empty folder" in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
