"""What takes minutes: `make scale-check`."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from noise_files import contents
from PIL import Image
from processes import console_script

from lorair.exporter import photos

SUPPORT = Path(__file__).parents[1] / "support"
LIMIT = 600

pytestmark = pytest.mark.scale


class Counted:
    """`lorair-run` in processes of its own, whose written pictures are counted."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.log.touch()
        self.token = uuid.uuid4().hex

    def environment(self, deadly: str = "") -> dict[str, str]:
        found = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        counted = {"PYTHONPATH": str(SUPPORT / "counted"), "COUNTED_LOG": str(self.log)}
        # A Ray of its own asks for a token; the test's processes share this one.
        counted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return found | counted | ({"COUNTED_DEADLY": deadly} if deadly else {})

    def start(self, *arguments: Any, deadly: str = "") -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*console_script("runtime"), *map(str, arguments)],
            env=self.environment(deadly), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: Any, deadly: str = "") -> "subprocess.CompletedProcess[str]":
        with self.start(*arguments, deadly=deadly) as process:
            out, err = process.communicate(timeout=LIMIT)
        print(err[-2000:])
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def written(self) -> list[str]:
        """The names of the pictures that were written, in order."""
        return [line.split()[1] for line in self.log.read_text().splitlines()]

    @property
    def writers(self) -> set[int]:
        return {int(line.split()[0]) for line in self.log.read_text().splitlines()}


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "written.log")


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 pieces of the shipped photographs, 96 to 160 pixels a side."""
    folder = tmp_path_factory.mktemp("crops")
    random = np.random.default_rng(3)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in photos.paths()]
    for number in range(500):
        picture = pictures[number % len(pictures)]
        height, width = np.minimum(random.integers(96, 161, 2), picture.shape[:2])
        top = random.integers(0, picture.shape[0] - height + 1)
        left = random.integers(0, picture.shape[1] - width + 1)
        piece = picture[top : top + height, left : left + width]
        Image.fromarray(piece).save(folder / f"p{number:03}.png")
    return folder


@pytest.fixture(scope="session")
def wanted(
    crops: Path, default_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What `lorair-run infer` writes."""
    folder = tmp_path_factory.mktemp("wanted")
    done = Counted(folder / "log").run("infer", crops, "-o", folder / "out", "-b", default_bundle)
    assert done.returncode == 0, done.stderr
    return contents(folder / "out")


@contextmanager
def two_nodes(environment: dict[str, str]) -> Iterator[str]:
    """The address of a Ray cluster of two nodes with one CPU each.

    In a process of its own: Ray takes its settings from the environment when it is imported.
    """
    with subprocess.Popen(
        [sys.executable, SUPPORT / "two_nodes.py"],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate(timeout=LIMIT)


Nodes = Callable[[dict[str, str]], Any]


@pytest.fixture
def nodes() -> Nodes:
    return two_nodes
