"""Pictures in bytes, through a `Restorer`: limits, queue and workers, nothing of HTTP."""

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from lorair.runtime import images
from lorair.runtime.decoding.pool import AVAILABLE, Decoders
from lorair.runtime.errors import DiskFullError, LorairError, OutputError
from lorair.runtime.files import Handling, RestoredFile, restore_file
from lorair.runtime.routing.gates import Gates, chosen_gates, one_expert
from lorair.runtime.routing.route import Route
from lorair.runtime.serve.settings import Settings
from lorair.runtime.serve.work import Work, WorkQueue
from lorair.runtime.system.atomic import owned_folder
from lorair.runtime.tiles import Tile

if TYPE_CHECKING:
    from lorair.runtime.pixels import Pixels
    from lorair.runtime.restorer import Restorer

SOURCE: Final = "picture"
"""What the file is called that a request's picture is kept in."""


@dataclass(frozen=True, eq=False)
class Wishes:
    """How a picture is to be restored.

    encoding: of the result; without a format, PNG. gates: (E,), instead of the router's.
    tile, strength: as `Restorer.restore` takes them.
    """

    encoding: images.Encoding = field(default_factory=images.Encoding)
    gates: Gates | None = None
    tile: Tile = "auto"
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Answer:
    """A restored picture.

    content: the encoded file. file: what was done, `seconds` with the time in the `queue`.
    """

    content: bytes
    file: RestoredFile


@dataclass(frozen=True, eq=False)
class Routed:
    """What the router sees. size: width and height in pixels. notes: for people."""

    route: Route
    size: tuple[int, int]
    notes: tuple[str, ...]


class Service:
    """Restores pictures for many callers at once.

    What it gives does not depend on what it has done before: one class is compiled for ahead,
    and it is always the bundle's first. `restorer.jobs` pictures are in work at once.

    Args:
        restorer: to restore with. Its graphs are loaded here, which may take a minute.
        settings: its limits.
    """

    def __init__(self, restorer: "Restorer", settings: Settings) -> None:
        self.restorer, self.settings = restorer, settings
        self._load()
        temporary = ExitStack()
        try:
            self._folder = temporary.enter_context(owned_folder("lorair-serve-"))
        except OSError as error:
            raise _cannot_keep(error) from error
        self._leave = weakref.finalize(self, temporary.close)  # at the latest when Python ends
        self.queue = WorkQueue(restorer.jobs, settings.queue)
        self._decoders: Decoders | None = None
        if settings.decode_timeout and AVAILABLE:
            self._decoders = Decoders(settings.decode_timeout, ready=restorer.jobs)

    @property
    def classes(self) -> tuple[str, ...]:
        """The bundle's."""
        return self.restorer.bundle.manifest.model.classes

    def wishes(
        self,
        format: str | None = None,
        quality: int | None = None,
        expert: str | None = None,
        gates: str | None = None,
        tile: Tile = "auto",
        strength: float = 1.0,
    ) -> Wishes:
        """Return checked wishes.

        The format is None for PNG, the quality 1 to 100 and of a lossy format; an expert stands
        alone, gates are such as `rain=0.7,snow=0.3`; tile and strength are as
        `Restorer.restore` takes them.

        Raises OptionError: one of them cannot be, or not beside another.
        """
        encoding = images.Encoding(format, quality)
        images.check_format(Path(f"restored{encoding.ending}"), encoding)
        return Wishes(encoding, chosen_gates(expert, gates, self.classes), tile, strength)

    def restore(self, content: bytes, wishes: Wishes) -> Work[Answer]:
        """Have a picture's file, at most `max_bytes` long, restored.

        The future of the work that it returns raises PictureError, OutputError and the like.

        Raises BusyError: the queue is full.
        """
        handling = self._handling(wishes)
        target = f"restored{wishes.encoding.ending}"

        def choose(pixels: "Pixels") -> Route | None:
            if wishes.gates is None:
                return None
            return self.restorer.route(pixels).with_gates(wishes.gates)

        def do(work: Work[Answer]) -> Answer:
            with self._kept(content) as source:
                done = restore_file(
                    self.restorer, source, source.with_name(target), choose, handling,
                    go_on=work.go_on, progress=work.report,
                )  # fmt: skip
                done.seconds["queue"] = work.waited
                return Answer(done.target.read_bytes(), done)

        return self.queue.submit(do)

    def route(self, content: bytes) -> Work[Routed]:
        """Have a picture routed; as `restore`."""

        def do(work: Work[Routed]) -> Routed:
            with self._kept(content) as source:
                picture = self._handling(Wishes()).read(source)
            work.go_on()
            height, width = picture.pixels.shape[:2]
            route = self.restorer.route(picture.pixels)
            return Routed(route, (width, height), (*picture.notes, *route.doubts()))

        return self.queue.submit(do)

    def close(self, seconds: float) -> bool:
        """Refuse new pictures, and do those that were taken.

        Returns:
            whether they were all done within the time.
        """
        all_done = self.queue.close(seconds)
        if self._decoders is not None:
            self._decoders.close()
        self._leave()
        return all_done

    @contextmanager
    def _kept(self, content: bytes) -> Iterator[Path]:
        """The picture as a file of a name that is ours, in a folder of its own."""
        try:
            with TemporaryDirectory(dir=self._folder) as name, _unnamed(Path(name)):
                source = Path(name, SOURCE)
                source.write_bytes(content)
                yield source
        except OutputError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and (cause.errno or isinstance(error, DiskFullError)):
                raise _cannot_keep(cause) from error
            raise  # the format cannot hold the picture
        except OSError as error:
            raise _cannot_keep(error) from error

    def _handling(self, wishes: Wishes) -> Handling:
        decode = images.read if self._decoders is None else self._decoders.read
        limit, strength = self.settings.max_pixels, wishes.strength
        return Handling(limit, wishes.encoding, wishes.tile, decode, strength)

    def _load(self) -> None:
        """Load every graph: the first class bound, and the one for all others."""
        backend = self.restorer.backend
        backend.load_router()
        for name in self.classes[:2]:
            backend.load_restorer(one_expert(name, self.classes))


def _cannot_keep(error: OSError) -> DiskFullError:
    return DiskFullError(
        "cannot keep pictures while they are restored",
        found=error.strerror or type(error).__name__,
        hint="free some space on the server",
    )


@contextmanager
def _unnamed(folder: Path) -> Iterator[None]:
    """Errors from within do not tell where our temporary files are."""

    def cleaned(text: str | None) -> str | None:
        if text is None:
            return None
        return text.replace(str(folder / SOURCE), "the picture").replace(f"{folder}/", "")

    try:
        yield
    except LorairError as error:
        error.what = cleaned(error.what) or ""
        error.wanted, error.found, error.hint = map(
            cleaned, (error.wanted, error.found, error.hint)
        )
        raise
