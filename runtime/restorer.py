"""The whole walk between two arrays: views, router, restoration network, picture."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from lorair.runtime.backends import AUTO, Backend, select, select_auto
from lorair.runtime.bundle import DEFAULT
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import (
    BackendError,
    LorairError,
    OptionError,
    OutOfMemoryError,
    PictureError,
)
from lorair.runtime.images import DEFAULT_MAX_PIXELS, check_size
from lorair.runtime.pixels import (
    PEAKS,
    Pixels,
    as_uint8,
    blend,
    check_finite,
    from_planes,
    make_views,
    no_picture,
    to_planes,
)
from lorair.runtime.routing.route import Route
from lorair.runtime.tiles import Progress, Tile, TiledPicture, first_tile, smaller_tile

if TYPE_CHECKING:
    from lorair.runtime.files import RestoredFile
    from lorair.runtime.gpu.walk import GpuWalk, Walked

MAX_THREADS = 1024
"""More than any machine has; ONNX Runtime would start as many as it is told."""


@dataclass(frozen=True, eq=False)
class Restored:
    """A restored picture.

    image: (H, W, 3), the input's dtype and size.
    route: under which it was restored.
    seconds: time of each stage: load (of graphs, once), views and router (absent if the
        route was given), prepare, restorer, finish (absent if the network was not needed); in
        tiles, which is those three; on a GPU walk, which is all of them.
    tile: side of the tiles in pixels; None if it was restored at once.
    """

    image: Pixels
    route: Route
    seconds: dict[str, float]
    tile: int | None = None


class Restorer:
    """Restores pictures with one bundle on one backend. Make one with `Restorer.open`."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        jobs: int = 1,
        skipped: tuple[str, ...] | None = None,
    ) -> None:
        self.bundle = bundle
        self.backend = backend
        self.jobs = jobs
        self.unchanged = bundle.manifest.model.unchanged
        """Classes for which the network is not run; empty to run it all the same."""
        self.skipped = skipped
        """Why `auto` passed over the backends that the bundle was made for; None if the
        backend was asked for by its name."""

    @classmethod
    def open(
        cls,
        path: str | Path = DEFAULT,
        backend: str = "auto",
        threads: int | None = None,
        jobs: int = 1,
    ) -> "Restorer":
        """Open a bundle.

        Args:
            path: the bundle's folder, or the text `default` for the one that lorair brings.
            backend: a backend's name, or `auto` for the best one installed.
            threads: CPU threads; None for one a core.
            jobs: pictures to work on at once, in as many threads of the caller's or in
                `restore_many`; they share the CPU threads. More is more pictures a second,
                and each one later.

        Raises:
            OptionError: threads or jobs are out of range.
            BundleError: the bundle is missing or damaged.
            BackendError: the backend is unknown or cannot run here.
            DependencyError: its package is not installed.
        """
        check_count("threads", threads)
        check_count("jobs", jobs)
        bundle = Bundle.open(path)
        if backend != AUTO:
            return cls(bundle, select(backend, bundle, threads, jobs), jobs)
        opened, skipped = select_auto(bundle, threads, jobs)
        return cls(bundle, opened, jobs, skipped)

    def route(self, image: Pixels) -> Route:
        """Ask the router what it sees.

        Args:
            image: (H, W, 3) RGB; uint8, uint16, or float32 in [0, 1].

        Raises:
            PictureError: the array is not such a picture.
        """
        return self._route(_checked(image), {})

    def restore(
        self,
        image: Pixels,
        route: Route | None = None,
        tile: Tile = "auto",
        progress: Progress | None = None,
        strength: float = 1.0,
    ) -> Restored:
        """Restore a picture, routing it first unless a route is given.

        Args:
            image: (H, W, 3) RGB; uint8, uint16, or float32 in [0, 1].
            route: from `route`, of this or another picture.
            tile: side of the tiles in which a larger picture is restored; `auto`: in tiles
                if the picture would not fit in memory, or is larger than an engine takes;
                `off`: never. Unless it is off, smaller tiles are tried when memory runs out.
            progress: takes the fraction done and what was done, after each tile.
            strength: how much of the change is made, from 0, which gives the picture as it
                was, to 1.

        Raises:
            OptionError: the strength is out of range.
            PictureError: the array is not such a picture.
            OutOfMemoryError: even the smallest tile was too large.
        """
        image = _checked(image)
        check_strength(strength)
        seconds: dict[str, float] = {}
        if route is None and (strength == 0 or self._walk(image) is None):
            route = self._route(image, seconds)
        if route is not None and (strength == 0 or self._is_unchanged(route)):
            return Restored(image.copy(), route, seconds)
        model = self.bundle.manifest.model
        size = image.shape[0], image.shape[1]
        side = first_tile(tile, size, model, self.backend, self.jobs)
        while True:
            try:
                if side is None:
                    done = self._at_once(image, route, seconds)
                else:
                    done = self._in_tiles(image, route, seconds, side, progress)
                return replace(done, image=blend(image, done.image, strength))
            except OutOfMemoryError as error:
                if tile == "off":
                    raise
                side = smaller_tile(side, size, error)

    def _walk(self, image: Pixels) -> "GpuWalk | None":
        """What routes and restores the picture in one go; None if nothing does."""
        return self.backend.walk if image.dtype == np.uint8 else None

    def _is_unchanged(self, route: Route) -> bool:
        return route.top in self.unchanged and np.count_nonzero(route.gates) == 1

    def _in_tiles(
        self,
        image: Pixels,
        route: Route | None,
        seconds: dict[str, float],
        side: int,
        progress: Progress | None,
    ) -> Restored:
        route = route or self._route(image, seconds)
        manifest = self.bundle.manifest
        with _timed(seconds, "tiles"):
            picture = TiledPicture(self.backend, manifest.model, image, route, side)
            out = picture.restore(manifest.precision, progress)
        return Restored(out, route, seconds, side)

    def _at_once(self, image: Pixels, route: Route | None, seconds: dict[str, float]) -> Restored:
        walk = self._walk(image)
        if walk is not None:
            with _timed(seconds, "walk"):
                walked = walk.restore(np.asarray(image, np.uint8), route)
            pixels = self._finite(walked).pixels
            assert pixels is not None
            return Restored(pixels, walked.route, seconds)
        route = route or self._route(image, seconds)
        with _timed(seconds, "load"):
            self.backend.load_restorer(route.gates)
        with _timed(seconds, "prepare"):
            planes = to_planes(image, self.bundle.manifest.model.stride)
        with _timed(seconds, "restorer"):
            restored = self.backend.restore(planes, route.prior[None], route.gates)
        with _timed(seconds, "finish"):
            check_finite(restored, self.bundle.manifest.precision)
            out = from_planes(restored, image.shape[:2], image.dtype)
        return Restored(out, route, seconds)

    def restore_file(
        self,
        source: str | Path,
        target: str | Path,
        route: Route | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        strength: float = 1.0,
    ) -> "RestoredFile":
        """Restore a picture from file to file, as `lorair-run infer` does.

        The result appears whole or not at all, in the format of its name's ending, and replaces
        what is there. `route` and `strength` are as for `restore`; pictures of more than
        `max_pixels` are refused.

        Raises:
            PictureError: the source cannot be read.
            OutputError: the target cannot be written.
        """
        from lorair.runtime.files import Handling, restore_file

        handling = Handling(max_pixels, strength=strength)
        return restore_file(self, Path(source), Path(target), lambda pixels: route, handling)

    @overload
    def restore_many(
        self,
        sources: Iterable[str | Path | Pixels],
        route: Route | None = None,
        *,
        errors: Literal["raise"] = "raise",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        strength: float = 1.0,
    ) -> Iterator[Restored]: ...

    @overload
    def restore_many(
        self,
        sources: Iterable[str | Path | Pixels],
        route: Route | None = None,
        *,
        errors: Literal["return"],
        max_pixels: int = DEFAULT_MAX_PIXELS,
        strength: float = 1.0,
    ) -> Iterator[Restored | LorairError]: ...

    def restore_many(
        self,
        sources: Iterable[str | Path | Pixels],
        route: Route | None = None,
        *,
        errors: Literal["raise", "return"] = "raise",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        strength: float = 1.0,
    ) -> Iterator[Restored | LorairError]:
        """Restore pictures, `jobs` at once, as the results are asked for.

        Args:
            sources: files or arrays; at most two a job are taken ahead.
            route: for all of them; None to route each.
            errors: `raise` ends at the first picture that fails, `return` gives its error in
                its place and goes on.
            max_pixels: larger files are refused.
            strength: as for `restore`.

        Yields:
            results in the order of the sources.
        """
        from lorair.runtime.files import Handling
        from lorair.runtime.many import restore_many

        handling = Handling(max_pixels, strength=strength)
        return restore_many(self, sources, route, handling, raises=errors == "raise")

    def restore_on_device(self, source: Any, target: Any, route: Route | None = None) -> Route:
        """Restore from device memory to device memory, in the order of the GPU's stream.

        Nothing of them goes by the host. Returns when it is done.

        Args:
            source: (H, W, 3) uint8, C-contiguous, with `__cuda_array_interface__`: a PyCUDA
                GPUArray, a CuPy array, a PyTorch tensor.
            target: the same; may be the source.
            route: as for `restore`.

        Returns:
            the route under which it was restored.

        Raises:
            BackendError: the backend is not on a GPU, or the bundle has no kernels for it.
            PictureError: the arrays are not such pictures.
        """
        walk = self.backend.walk
        if walk is None:
            raise BackendError(
                "cannot restore in device memory",
                wanted="a backend on a GPU, and a bundle with kernels for it",
                found=self.backend.description,
                hint="build the bundle with --kernels, and choose a GPU backend",
            )
        return self._finite(walk.restore_on_device(source, target, route)).route

    def _finite(self, walked: "Walked") -> "Walked":
        if not walked.is_finite:
            raise no_picture(self.bundle.manifest.precision)
        return walked

    def _route(self, image: Pixels, seconds: dict[str, float]) -> Route:
        model = self.bundle.manifest.model
        with _timed(seconds, "load"):
            self.backend.load_router()
        with _timed(seconds, "views"):
            views = make_views(as_uint8(image), model.clip_side)
        with _timed(seconds, "router"):
            logits, prior, gates = self.backend.route(views)
        return Route(logits[0], gates[0], prior[0], model.classes)


def _checked(image: Pixels) -> Pixels:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise _no_array(image)
    if image.dtype not in PEAKS:
        raise PictureError(
            "not a picture", wanted="uint8, uint16 or float32", found=str(image.dtype)
        )
    check_size(image.shape[1], image.shape[0], math.inf, "the array")
    if image.dtype == np.float32 and not (image.min() >= 0 and image.max() <= 1):
        raise PictureError(
            "not a picture",
            wanted="float32 values in [0, 1]",
            found=f"{image.min():g} to {image.max():g}",
            hint="divide 8-bit values by 255",
        )
    return image


def _no_array(image: object) -> PictureError:
    found = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    hint = "restore_file takes files" if isinstance(image, (str, Path)) else None
    return PictureError(
        "not a picture", wanted="an array (height, width, 3)", found=found, hint=hint
    )


def check_count(name: str, count: int | None) -> None:
    """Raise OptionError unless a number of threads or jobs is one; None is the default."""
    if count is not None and not 1 <= count <= MAX_THREADS:
        raise OptionError(
            name,
            wanted=f"1 to {MAX_THREADS}",
            found=str(count),
            hint="leave it out for the default",
        )


def check_strength(strength: float) -> None:
    """Raise OptionError unless the strength is a number from 0 to 1."""
    if not 0 <= strength <= 1:
        raise OptionError("--strength", wanted="a number from 0 to 1", found=f"{strength:g}")


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
