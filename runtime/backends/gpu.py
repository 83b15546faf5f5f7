"""What the GPU backends share: where pictures and guidance meet the two networks."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from lorair.runtime.backends.tiles import PlainTiles
from lorair.runtime.bundle.kernels import for_gpu, read_index
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.kernels import PictureKernels, has_picture_kernels
from lorair.runtime.gpu.memory import DeviceBlock, Held, Layout, Shape
from lorair.runtime.gpu.network import Branch, Tensor
from lorair.runtime.gpu.plan import Size
from lorair.runtime.gpu.step import Step
from lorair.runtime.gpu.walk import GpuWalk, Networks
from lorair.runtime.pixels import Array

_SHARE: Final = 0.5
"""Of the memory that is free at the beginning, for what is kept for the next picture."""


class GpuBackend(PlainTiles):
    """Runs a bundle on a GPU.

    Args:
        name: as `--backend` takes it.
        library: what runs the networks, with its version.
        bundle: whose networks they are.
        gpu: to run on.
        networks: loaded on it.
        jobs: pictures at once, from threads of the caller's.
    """

    def __init__(
        self, name: str, library: str, bundle: Bundle, gpu: Gpu, networks: Networks, jobs: int = 1
    ) -> None:
        self.name = name
        self.gpu = gpu
        self._model, self._networks = bundle.manifest.model, networks
        self._held = Held(networks.scratch, int(_SHARE * gpu.free_memory()))
        self.walk = self._open_walk(bundle, jobs)
        ends = "the whole walk" if self.walk else "the networks"
        self.description = f"{library}, {ends} on {gpu.info.name}"

    def load_router(self) -> None:
        """Load the router, unless it is loaded. `route` does it too."""
        with self.gpu.turn():
            self._networks.router()

    def load_restorer(self, gates: Array) -> None:
        """Nothing: which restorer it is depends on the picture's size, too."""

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""
        model = self._model
        names = {"logits": (1, model.experts), "prior": (1, model.prior)}
        names["gates"] = (1, model.experts)
        with self.gpu.turn():
            router = self._networks.router()
            made = [self._run(router, {"views": one[None]}, names) for one in views]
        logits, prior, gates = (np.concatenate([m[name] for m in made]) for name in names)
        return logits, prior, gates

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""
        inputs = {"image": image, "prior": prior, "gates": gates}
        with self.gpu.turn():
            restorer = self._networks.restorer((image.shape[2], image.shape[3]), gates)
            return self._run(restorer, inputs, {"restored": image.shape})["restored"]

    def largest_tile(self) -> Size | None:
        """As `Backend` says."""
        return self._networks.largest()

    def bytes_a_pixel(self) -> float | None:
        """As `Backend` says."""
        return self._networks.bytes_a_pixel()

    def free_memory(self) -> int:
        """As `Backend` says: what is kept for the next picture would go for this one.

        So it is the same before a picture and after it.
        """
        with self.gpu.turn():
            waiting = 0 if self.walk is None else self.walk.waiting
            free = self.gpu.free_memory() + self._held.size + waiting
            return max(0, free - self._networks.reserved())

    def _run(
        self, branch: Branch, inputs: dict[str, Array], outputs: Mapping[str, Shape]
    ) -> dict[str, Array]:
        shapes = {name: value.shape for name, value in inputs.items()}
        key = branch, tuple(shapes.items())
        return self._held.get(key, lambda: _Run(self.gpu, branch, shapes, outputs))(inputs)

    def _open_walk(self, bundle: Bundle, jobs: int) -> GpuWalk | None:
        """The walk, if the bundle has the picture ends' kernels for this GPU."""
        folder = bundle.path / KERNELS
        if not folder.is_dir():
            return None
        found = for_gpu(read_index(folder), self.gpu.info.sm)
        if not has_picture_kernels(found):
            return None
        kernels = PictureKernels(self.gpu, self.gpu.launcher(folder), found)
        return GpuWalk(self.gpu, kernels, self._model, self._networks, self._held, jobs)


class _Run:
    """One network between arrays of the host, for one set of shapes; captured as the walk is."""

    def __init__(
        self, gpu: Gpu, branch: Branch, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
    ) -> None:
        self.branch, self._gpu, self._outputs = branch, gpu, tuple(outputs)
        shapes = {**inputs, **outputs}
        fields = {name: (shape, np.float32) for name, shape in shapes.items()}
        self._inputs, self._block = tuple(inputs), DeviceBlock(gpu, Layout(fields))
        places = {n: Tensor(self._block.address(n), shape) for n, shape in shapes.items()}
        try:
            self._bound = branch.bind(places)
        except BaseException:
            self._block.close()
            raise
        self._step = Step(gpu, self._enqueue, self._bound)

    def __call__(self, inputs: dict[str, Array]) -> dict[str, Array]:
        for name, value in inputs.items():
            self._block.array(name)[...] = value
        self._step.run()
        self._gpu.synchronize()
        return {name: self._block.array(name).astype(np.float32) for name in self._outputs}

    def _enqueue(self) -> None:
        self._block.upload(*self._inputs)
        self._bound.enqueue()
        self._block.download(*self._outputs)

    @property
    def size(self) -> int:
        return self._block.size + self._bound.size

    def close(self) -> None:
        self._step.close()
        self._bound.close()
        self._block.close()
