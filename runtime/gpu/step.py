"""A part of the walk that is captured as a graph when it is run a second time."""

from collections.abc import Callable

from lorair.runtime.errors import InternalError
from lorair.runtime.gpu.cuda import Gpu, Graph
from lorair.runtime.gpu.network import Bound


class Step:
    """Work with one network in it, put into the stream again and again.

    The first run compiles what a library still has to compile, and a size that comes once never
    pays for a capture. What cannot be captured runs as it is.

    Args:
        gpu: in whose stream it runs.
        work: puts it there.
        bound: the network.
    """

    def __init__(self, gpu: Gpu, work: Callable[[], None], bound: Bound) -> None:
        self._gpu, self._work, self._bound = gpu, work, bound
        self._graph: Graph | None = None
        self._captured_at: int | None = None
        self._is_warm = False
        self._is_refused = False

    def run(self) -> None:
        """Put one run into the stream."""
        now = self._bound.prepare()
        if self._graph is not None and self._captured_at != now:
            self.close()
        if self._graph is None and self._is_warm and self._can_capture():
            self._capture(now)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._work()
            self._is_warm = True

    def close(self) -> None:
        """Give the graph back."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _can_capture(self) -> bool:
        return not self._is_refused and self._gpu.can_capture and self._bound.capturable

    def _capture(self, now: int) -> None:
        try:
            self._graph, self._captured_at = self._gpu.capture(self._work), now
        except InternalError:  # of the driver or the library: the same without a graph
            self._is_refused = True
