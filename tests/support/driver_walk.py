"""The walk over the tests' driver beside the same walk in NumPy.

Also in a process of its own, with other packages before those of the tests:
`driver_walk.py BUNDLE FOLDER [pycuda]` walks in a new stream, or in one of PyCUDA's.
"""

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from cuda_driver import Driver, SessionBranch, write_kernels

from lorair import Route
from lorair.runtime.backends.tiles import PlainTiles
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.gpu.cuda import Gpu, from_pycuda
from lorair.runtime.gpu.kernels import PictureKernels
from lorair.runtime.gpu.memory import Held, Scratch
from lorair.runtime.gpu.walk import GpuWalk
from lorair.runtime.pixels import from_planes, make_views, to_planes

PLENTY = 1 << 30
EXAMPLE = Path(__file__).parents[2] / "examples" / "pycuda_camera.py"


class Walks:
    """A walk over the tiny bundle's two graphs, and the same walk in NumPy."""

    def __init__(
        self, driver: Driver, gpu: Gpu, folder: Path, bundle: Bundle, sessions: dict[str, Any]
    ) -> None:
        self.driver, self.gpu, self.bundle, self.sessions = driver, gpu, bundle, sessions
        self.compiled, self.folder = write_kernels(folder), folder

    def networks(self, *, capturable: bool = True) -> Any:
        """Both graphs on the GPU; the gates that chose the restorer are kept."""
        self.scratch = Scratch(self.gpu)
        router, restorer = (
            SessionBranch(self.driver, self.gpu, session, self.scratch, capturable=capturable)
            for session in self.sessions.values()
        )

        def chosen(size: tuple[int, int], gates: np.ndarray) -> SessionBranch:
            self.gates = gates.copy()
            return restorer

        return SimpleNamespace(
            scratch=self.scratch, router=lambda: router, restorer=chosen, reserved=lambda: 0,
            largest=lambda: None, bytes_a_pixel=lambda: None,
        )  # fmt: skip

    def walk(self, budget: int = PLENTY, *, capturable: bool = True, jobs: int = 1) -> GpuWalk:
        networks = self.networks(capturable=capturable)
        kernels = PictureKernels(self.gpu, self.gpu.launcher(self.folder), self.compiled)
        self.held = Held(self.scratch, budget)
        model = self.bundle.manifest.model
        return GpuWalk(self.gpu, kernels, model, networks, self.held, jobs)

    @property
    def sizes(self) -> list[Any]:
        """That have a plan, the least recently used first."""
        keys = vars(self.held)["_entries"]
        return [key for key in keys if not isinstance(key[0], tuple)]  # the others: of restorers

    def check(self, walk: GpuWalk, pixels: np.ndarray, route: Route | None = None) -> Any:
        """Walk a picture, and compare the result with NumPy's."""
        found = walk.restore(pixels, route)
        wanted, used = self.wanted(pixels, route)
        np.testing.assert_array_equal(found.pixels, wanted)
        np.testing.assert_array_equal(self.gates, used.gates)
        return found

    def wanted(self, pixels: np.ndarray, route: Route | None = None) -> tuple[Any, Route]:
        model = self.bundle.manifest.model
        if route is None:
            views = make_views(pixels, model.clip_side)
            logits, prior, gates = self.sessions["router"].run(None, {"views": views})
            route = Route(logits[0], gates[0], prior[0], model.classes)
        inputs = {
            "image": to_planes(pixels, model.stride),
            "prior": route.prior[None],
            "gates": route.gates,
        }
        (restored,) = self.sessions["restorer"].run(None, inputs)
        return from_planes(restored, pixels.shape[:2], pixels.dtype), route


class OnTheCpu(PlainTiles):
    """The same two graphs as a backend of the CPU."""

    name, description, walk = "sessions", "two sessions", None

    def __init__(self, sessions: dict[str, Any]) -> None:
        self._sessions = sessions

    def load_router(self) -> None: ...

    def load_restorer(self, gates: np.ndarray) -> None: ...

    def route(self, views: np.ndarray) -> Any:
        return self._sessions["router"].run(None, {"views": views})

    def restore(self, image: np.ndarray, prior: np.ndarray, gates: np.ndarray) -> np.ndarray:
        inputs = {"image": image, "prior": prior, "gates": gates}
        return np.asarray(self._sessions["restorer"].run(None, inputs)[0])


def open_sessions(bundle: Path) -> dict[str, Any]:
    """The bundle's graphs on the CPU."""
    names = ("router", "restorer")
    return {name: onnxruntime.InferenceSession(bundle / f"{name}.onnx") for name in names}


def pixels_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def walk_in_pycuda(walks: Walks, stream: Any) -> None:
    """From a GPUArray to another, after work of PyCUDA's own: the example's loop."""
    camera = runpy.run_path(str(EXAMPLE))
    frames = [pixels_of(*size) for size in ((41, 60), (33, 49), (33, 49), (41, 60), (48, 64))]
    restored = camera["restore_frames"](walks.walk().restore_on_device, frames, stream)
    for frame, found in zip(frames, restored, strict=True):
        np.testing.assert_array_equal(found, walks.wanted(frame)[0])


def main(bundle: str, folder: str, kind: str = "") -> None:
    driver, stream = Driver(), None
    if kind:
        sys.setdlopenflags(1)  # lazily: PyCUDA names functions that the driver has not
        import pycuda.autoprimaryctx
        import pycuda.driver

        stream = pycuda.driver.Stream()
    gpu = from_pycuda(stream) if kind else Gpu()
    walks = Walks(driver, gpu, Path(folder), Bundle.open(bundle), open_sessions(Path(bundle)))
    walk = walks.walk()
    for size in ((41, 60), (48, 64), (33, 49), (20, 20), (41, 60)):
        walks.check(walk, pixels_of(*size))
    assert (driver.captures, driver.launches) == (2, 6)
    if kind:
        walk_in_pycuda(walks, stream)
    assert driver.mistakes == []


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # the driver ends before what it made does
