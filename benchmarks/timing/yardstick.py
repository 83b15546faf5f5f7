"""A fixed piece of work, timed in turn with what is measured: how fast the machine was then.

Load, clocks and neighbours on the host slow it and a restoration alike, so the ratio of the
two can be compared between separate runs, where durations cannot. It is a walk like the
restorer's: decode, resize to views, a small U-net on ONNX Runtime, encode; of Pillow, NumPy
and ONNX Runtime alone, so that no change of lorair changes it. Whoever changes anything here
MUST raise `VERSION`.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorair.benchmarks.schema import Memory
from lorair.benchmarks.schema.parts import Yardstick, YardstickSize
from lorair.benchmarks.timing.latency import CPU, TOTAL, Series
from lorair.runtime.errors import DependencyError
from lorair.runtime.system.machine import peak_memory

NAME: Final = "walk"
VERSION: Final = 1
GRAPH: Final = Path(__file__).with_name("yardstick.onnx")
"""Made by `yardstick_graph`."""

LARGEST: Final = 512
"""Pixels a side: of a larger picture the corner is taken, so that a round costs 0.5 s and
0.4 GB at most."""

_VIEWS: Final = (56, 112)
_MULTIPLE: Final = 16


@dataclass(frozen=True)
class YardstickSpec:
    """The yardstick on so many threads; opened in a process of its own."""

    threads: int

    @property
    def backend(self) -> str:
        """What an error calls it."""
        return "the yardstick"

    def runner(self) -> "YardstickRunner":
        """In this process. Raises DependencyError without ONNX Runtime."""
        return YardstickRunner(self.threads)


class YardstickRunner:
    """A `Runner` that restores nothing."""

    name = NAME
    batch = 1

    def __init__(self, threads: int) -> None:
        self._session = _open(threads)
        self.description = f"yardstick {NAME} {VERSION}, {threads} threads"

    def run(self, source: Path, target: Path) -> dict[str, float]:
        """Read a picture, walk, write it or its corner; seconds of each part."""
        start, cpu = time.perf_counter(), time.process_time()
        with Image.open(source) as image:
            picture = _corner(image.convert("RGB"))
        decoded = time.perf_counter()
        for side in _VIEWS:
            _planes(picture.resize((side, side), Image.Resampling.BICUBIC))
        prepared = time.perf_counter()
        (restored,) = self._session.run(None, {"image": _padded(_planes(picture))})
        encoding = time.perf_counter()
        _picture(restored, picture).save(target)
        end = time.perf_counter()
        return {
            "decode": decoded - start,
            "views": prepared - decoded,
            "graph": encoding - prepared,
            "encode": end - encoding,
            "cpu": time.process_time() - cpu,
        }

    def peak_memory(self) -> Memory:
        """Of this process."""
        return Memory(host=peak_memory())


def record(spec: YardstickSpec, timed: Sequence[Series]) -> Yardstick | None:
    """The samples of a run, for its result; None if there are none."""
    sizes = tuple(
        YardstickSize(
            height=one.size.height,
            width=one.size.width,
            total=tuple(one.samples[TOTAL]),
            cpu=tuple(one.samples[CPU]),
        )
        for one in timed
        if one.samples
    )
    if not sizes:
        return None
    return Yardstick(
        name=NAME, version=VERSION, threads=spec.threads, versions=versions(), sizes=sizes
    )


def is_available() -> bool:
    """Whether ONNX Runtime is installed."""
    return find_spec("onnxruntime") is not None


def versions() -> dict[str, str]:
    """Of the libraries that the yardstick's speed depends on."""
    import onnxruntime

    libraries = {name: version(name) for name in ("numpy", "pillow")}
    return {"onnxruntime": onnxruntime.__version__, **libraries}


def _open(threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "cannot time the yardstick",
            wanted="the bench extra",
            found="onnxruntime is not installed",
            hint="pip install 'lorair[bench]', or leave it out with --no-yardstick",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # The U-net is plain; what the optimizer says of it is no message to a user.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(os.fspath(GRAPH), options, ["CPUExecutionProvider"])


def _corner(picture: Image.Image) -> Image.Image:
    return picture.crop((0, 0, min(picture.width, LARGEST), min(picture.height, LARGEST)))


def _planes(picture: Image.Image) -> npt.NDArray[np.float32]:
    """(1, 3, H, W) in [0, 1]."""
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels / np.float32(255))


def _padded(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    below, right = (-side % _MULTIPLE for side in planes.shape[2:])
    return np.pad(planes, ((0, 0), (0, 0), (0, below), (0, right)))


def _picture(planes: npt.NDArray[np.float32], like: Image.Image) -> Image.Image:
    """The picture's size and noise, so that the encoder has as much to do."""
    cropped = planes[0, :, : like.height, : like.width].transpose(1, 2, 0)
    pixels = np.rint(cropped.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels)
