"""A restorer that inverts, as slowly as a test wants, and a service and client on it."""

import io
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from lorair import Route
from lorair.runtime.restorer import Restored

CLASSES = ("snow", "rain", "raindrop")
ROUTE = Route(
    np.array([0, 2, 0.5], np.float32),
    np.array([0, 1, 0], np.float32),
    np.zeros(4, np.float32),
    CLASSES,
)


class StubRestorer:
    """`open` is set unless a test holds the work up; `began` counts what was begun."""

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs
        self.open = threading.Event()
        self.open.set()
        self.began = threading.Semaphore(0)
        self.tiles = 1
        self.error: Exception | None = None
        model = SimpleNamespace(classes=CLASSES, top_k=1)
        manifest = SimpleNamespace(model=model, precisions="fp32", digest="0" * 64)
        path = SimpleNamespace(resolve=lambda: SimpleNamespace(name="stub"))
        self.bundle: Any = SimpleNamespace(manifest=manifest, path=path)
        self.backend: Any = SimpleNamespace(
            description="a stub", load_router=lambda: None, load_restorer=lambda gates: None
        )
        self.reason = ""

    def route(self, pixels: np.ndarray) -> Route:
        return ROUTE

    def restore(
        self, pixels: np.ndarray, route: Any, tile: Any, progress: Any, strength: float
    ) -> Restored:
        self.strength = strength
        self.began.release()
        for done in range(self.tiles):
            assert self.open.wait(60)
            progress((done + 1) / self.tiles, f"restoring, tile {done + 1} of {self.tiles}")
        if self.error is not None:
            raise self.error
        return Restored(np.iinfo(pixels.dtype).max - pixels, route or ROUTE, {"restorer": 0.25})


def png(width: int = 8, height: int = 6, value: int = 40) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 255)).save(out, "PNG")
    return out.getvalue()
