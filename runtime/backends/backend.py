"""What every backend offers, and what its entry in the table says."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import numpy.typing as npt

from lorair.runtime.backends.tiles import Means, TileInputs
from lorair.runtime.bundle.engines import Flavour, has_engines
from lorair.runtime.bundle.manifest import Bundle, Precision
from lorair.runtime.pixels import Array
from lorair.runtime.system.extras import install_command
from lorair.runtime.system.machine import is_installed

if TYPE_CHECKING:
    from lorair.runtime.gpu.walk import GpuWalk


class Backend(Protocol):
    """Runs the two graphs. Arrays are float32, C-contiguous, on the host."""

    @property
    def name(self) -> str:
        """As `--backend` takes it."""

    @property
    def description(self) -> str:
        """Library, version, device and threads, for reports."""

    @property
    def walk(self) -> "GpuWalk | None":
        """The whole walk on a GPU, for 8-bit pictures; None if pictures' ends are the host's."""

    def load_router(self) -> None:
        """Load the router's graph, unless it is loaded. `route` does it too."""

    def load_restorer(self, gates: Array) -> None:
        """Load the restoration network's graph for these gates (E), unless it is loaded.

        `restore` does it too.
        """

    def route(self, views: Array) -> tuple[Array, Array, Array]:
        """Views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)."""

    def restore(self, image: Array, prior: Array, gates: Array) -> Array:
        """Image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)."""

    @property
    def shares_means(self) -> bool:
        """Whether tiles can share their picture's pooled means: `restore_tile` works."""

    def restore_tile(self, tile: TileInputs, means: Means | None) -> tuple[Array, Means]:
        """A tile restored under its picture's means, or None for its own.

        Returns:
            restored (1, 3, H, W), and the means over the part that no other tile counts.
        """

    def largest_tile(self) -> tuple[int, int] | None:
        """Height and width of the largest picture that it takes; None if memory is the limit."""

    def bytes_a_pixel(self) -> float | None:
        """Memory of a run for each pixel; None if only an estimate is known."""

    def free_memory(self) -> int | None:
        """Bytes that a run may still take, on the host or the GPU; None if unknown."""


Branch = Literal["router", "restorer"]

Run = Callable[[dict[str, Array]], list[npt.NDArray[Any]]]
"""Inputs by name -> a graph's outputs in order, in the graph's types."""


@runtime_checkable
class RunsGraphs(Protocol):
    """A backend that can also run other graphs as it runs a bundle's, to find errors in them."""

    @property
    def router_graph(self) -> Path:
        """The router's graph in the form that it runs."""

    def open_graph(self, branch: Branch, graph: Path) -> Run:
        """Load a graph of standard ONNX as one of a branch, every optimisation included.

        It has some of that branch's inputs, and any of its inner values as outputs.
        """


ANY: Final[frozenset[Precision]] = frozenset({"fp32", "fp16"})


@dataclass(frozen=True)
class BackendKind:
    """A backend that may or may not be installed: its entry in the table.

    The module holds `open_backend(name, bundle, threads, jobs)`. It may hold `lacks(name)`,
    which says what the machine lacks to run it once the package is there,
    `unfit(name, bundle)`, which says what a bundle lacks to run on it here, and `about(name)`,
    which says what it runs on; all return a few words, or None for nothing. `is_faster(name)`
    says whether `auto` may take it before the CPU's, untimed. The module is imported only where
    the package is installed.

    Attributes:
        name: as `--backend` takes it.
        package: the package that it needs, as it is imported.
        extra: of lorair, which brings the package.
        module: in this folder, without its ending.
        precisions: of bundles that `auto` may run with it: no lower arithmetic than they ask for.
        distributions: that bring the package, if their names are others; one is enough.
        flavour: of the engines that it runs. A bundle that has some was made for it, so
            `auto` says why it takes another backend.
    """

    name: str
    package: str
    extra: str
    module: str
    precisions: frozenset[Precision] = ANY
    distributions: tuple[str, ...] = ()
    flavour: Flavour | None = None

    def open(self, bundle: Bundle, threads: int | None, jobs: int = 1) -> Backend:
        """Open a bundle.

        Args:
            bundle: to run.
            threads: of the CPU; None for one a core.
            jobs: pictures at once, which share the threads.

        Raises:
            BackendError: it cannot run here, or not this bundle.
            DependencyError: its package is not installed.
        """
        module = import_module(f"{__package__}.{self.module}")
        opened: Backend = module.open_backend(self.name, bundle, threads, jobs)
        return opened

    @property
    def install_command(self) -> str:
        """The command that brings the package."""
        return install_command(self.extra)

    @property
    def version(self) -> str | None:
        """The version of the package; None if it is not installed."""
        if not is_installed(self.package):
            return None
        for name in self.distributions or (self.package,):
            with suppress(PackageNotFoundError):
                return version(name)
        return None

    def missing(self) -> str | None:
        """Why it cannot run here, in a few words; None if it can."""
        if self.version is None:
            name = self.distributions[0] if self.distributions else self.package
            return f"the package {name} is not installed"
        lacks: str | None = self._ask("lacks")
        return lacks

    def unfit(self, bundle: Bundle) -> str | None:
        """What a bundle lacks to run on it here, in a few words; None if nothing."""
        unfit: str | None = self._ask("unfit", bundle)
        return unfit

    def about(self) -> str | None:
        """What it runs on, in a few words, where that is not the CPU's or CUDA's to say."""
        about: str | None = None if self.version is None else self._ask("about")
        return about

    def is_faster(self) -> bool:
        """Whether `auto` may take it in the table's order, without having timed it."""
        return self.version is None or self._ask("is_faster") is not False

    def is_expected(self, bundle: Bundle) -> bool:
        """Whether the bundle was made for this backend."""
        return self.flavour is not None and has_engines(bundle, self.flavour)

    def _ask(self, question: str, *arguments: Any) -> Any:
        module = import_module(f"{__package__}.{self.module}")
        answer: Callable[..., Any] | None = getattr(module, question, None)
        return None if answer is None else answer(self.name, *arguments)
