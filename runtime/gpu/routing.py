"""The router's end of the walk on a GPU: where views lie, and what is said of them."""

from typing import Final

import numpy as np

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.memory import DeviceBlock, Layout, Shape
from lorair.runtime.gpu.network import Bound, Branch, Tensor
from lorair.runtime.routing.route import Route

_VIEWS: Final = 5


class Routing:
    """The router's end of the walk, shared by all plans: views in, guidance out.

    Its addresses never change, so every plan's graph may hold them.
    """

    def __init__(self, gpu: Gpu, model: ModelInfo) -> None:
        self.side, self._classes = model.clip_side, model.classes
        views: Shape = (1, _VIEWS, 3, self.side, self.side)
        self._shapes = {"logits": (1, model.experts), "prior": (1, model.prior)}
        self._shapes["gates"] = (1, model.experts)
        self.views = DeviceBlock(gpu, Layout({"views": (views, np.float32)}), on_host=False)
        guidance = {name: (shape, np.float32) for name, shape in self._shapes.items()}
        self.guidance = DeviceBlock(gpu, Layout(guidance))
        self._views_shape = views
        self.bound: Bound | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the router is there."""
        return self.bound is not None

    def load(self, router: Branch) -> None:
        """Give the router its places."""
        tensors = {name: self.tensor(name, shape) for name, shape in self._shapes.items()}
        tensors["views"] = Tensor(self.views.address("views"), self._views_shape)
        self.bound = router.bind(tensors)

    def tensor(self, name: str, shape: Shape) -> Tensor:
        """One of logits, prior and gates, in any shape of its size."""
        return Tensor(self.guidance.address(name), shape)

    def enqueue(self) -> None:
        """Route the views that are on the device, and tell the host."""
        assert self.bound is not None
        self.bound.enqueue()
        self.guidance.download()

    def write(self, given: Route) -> None:
        """Prepare a route for its upload."""
        for name in self._shapes:
            self.guidance.array(name)[...] = getattr(given, name)

    def read(self) -> Route:
        """What was downloaded."""
        arrays = {name: self.guidance.array(name)[0].astype(np.float32) for name in self._shapes}
        return Route(**arrays, classes=self._classes)
