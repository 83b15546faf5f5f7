"""Video: frames in, restored frames out; sound, subtitles, times and metadata as they were.

PyAV reads and writes, each in a thread of its own, a few frames ahead of and behind those that
are being restored. The result appears under its name when it is whole.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import repeat, takewhile
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lorair.runtime.errors import OutputError, PictureError
from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.extras import require
from lorair.runtime.system.ordered import in_order
from lorair.runtime.video.formats import VideoEncoding, check_encoder, check_target
from lorair.runtime.video.guide import Change, RouteGuide

if TYPE_CHECKING:
    from lorair.runtime.restorer import Restorer

# As FFmpeg numbers them.
_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5
_LIMITED, _FULL = 1, 2

_HD = 720
"""Pictures of this height and more are BT.709 unless they say otherwise, as players assume."""

_COPIED = ("audio", "subtitle")

_AHEAD: Final = 2
"""Frames and packets that may lie between two stages: enough, and little memory."""


@dataclass(frozen=True)
class Summary:
    """What was done: frames, the routes' changes, questions to the router, what was lost."""

    frames: int
    changes: tuple[Change, ...]
    asked: int
    notes: tuple[str, ...]


def restore_video(
    restorer: "Restorer",
    source: Path,
    target: Path,
    guide: RouteGuide,
    encoding: VideoEncoding | None = None,
    report: Callable[[int, int | None], None] = lambda done, total: None,
    strength: float = 1.0,
) -> Summary:
    """Restore a video frame by frame.

    Args:
        restorer: for the frames, `jobs` at once.
        source: anything that FFmpeg reads.
        target: ending in one of `formats.CONTAINERS`.
        guide: which says each frame's route.
        encoding: of the frames; None for the defaults of such a file.
        report: takes how many frames are done, and how many there are if that is known.
        strength: as `Restorer.restore` takes it.

    Raises:
        DependencyError: PyAV is not installed.
        PictureError: the source is no video, or damaged.
        OptionError: there is no such encoder, or the container does not take what it makes.
        OutputError: the target cannot be written, or its container does not take the sound.
    """
    encoding = encoding or VideoEncoding.for_file(target)
    check(source, target, encoding)
    av = _import_av()
    first = _first_frame(av, source)
    frames = 0
    with (
        _writing(av, target),
        atomic_file(target) as partial,
        _open(av, source) as found,
        av.open(str(partial), "w") as made,
    ):
        writer = _Writer(av, found, made, first, encoding)
        items = _read(av, found, writer.copied, source)

        def routed(decoded: Iterator[Any]) -> Iterator[Any]:
            for one, pixels in takewhile(bool, decoded):
                yield one, pixels, None if pixels is None else guide.follow(pixels)

        def restore(item: tuple[Any, Any, Any]) -> tuple[Any, Any]:
            one, pixels, route = item
            if pixels is None:
                return one, None
            return one, restorer.restore(pixels, route, strength=strength).image

        with (
            closing(_in_threads(lambda _: next(items, None), repeat(None))) as decoded,
            closing(_in_threads(restore, routed(decoded), restorer.jobs)) as restored,
            closing(_in_threads(writer.write, restored)) as written,
        ):
            for is_frame in written:
                if is_frame:
                    frames += 1
                    report(frames, found.streams.video[0].frames or None)
        writer.finish()
    return Summary(frames, tuple(guide.changes), guide.asked, tuple(writer.notes))


def _in_threads(
    work: Callable[[Any], Any], items: Iterable[Any], jobs: int = 1
) -> Generator[Any, None, None]:
    return in_order(work, items, jobs, jobs + _AHEAD, Event())


def check(source: Path, target: Path, encoding: VideoEncoding) -> None:
    """Raise what `restore_video` would raise of these, before any work is done."""
    check_target(source, target)
    av = _import_av()
    check_encoder(av, target, encoding.codec)
    _open(av, source).close()


class _Writer:
    """The output: one video stream, and copies of the others."""

    def __init__(self, av: Any, found: Any, made: Any, first: Any, encoding: VideoEncoding) -> None:
        self._av, self._made = av, made
        self.notes: list[str] = []
        made.metadata.update(found.metadata)
        if found.chapters():
            made.set_chapters(found.chapters())
        video = found.streams.video[0]
        self._stream = _add_video(made, video, first, encoding)
        self._format = self._stream.codec_context.format
        if _depth(first.format) > 8 >= _depth(self._format):
            self.notes.append(f"{encoding.codec} writes 8 bits a channel ({self._format.name})")
        self._copies: dict[int, Any] = {}
        for stream in found.streams:
            if stream.type in _COPIED:
                self._copies[stream.index] = _add_copy(made, stream)
            elif stream is not video:
                self.notes.append(f"stream {stream.index} ({stream.type}) was dropped")
        self.copied = [stream for stream in found.streams if stream.index in self._copies]

    def write(self, item: tuple[Any, Any]) -> bool:
        """A packet of another stream, or a frame and its restored image; whether it is one."""
        one, image = item
        if image is None:
            self._copy(one)
        else:
            self._encode(image, one)
        return image is not None

    def _copy(self, packet: Any) -> None:
        """A packet of another stream, as it is."""
        if packet.dts is not None:  # a stream's last one is empty
            packet.stream = self._copies[packet.stream.index]
            self._made.mux(packet)

    def _encode(self, image: Any, like: Any) -> None:
        """A restored frame at the time of the one it was."""
        kind = "rgb48le" if image.dtype == np.uint16 else "rgb24"
        frame = self._av.VideoFrame.from_ndarray(image, kind)
        matrix, scale = _colours(like)
        frame = frame.reformat(
            format=self._format.name,
            dst_colorspace=matrix,
            dst_color_range=scale,
            interpolation=_careful(self._av),
        )
        frame.colorspace, frame.color_range = like.colorspace, like.color_range
        frame.pts, frame.time_base, frame.duration = like.pts, like.time_base, like.duration
        self._made.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """What the encoder still holds."""
        self._made.mux(self._stream.encode(None))


def _add_video(made: Any, video: Any, first: Any, encoding: VideoEncoding) -> Any:
    stream = made.add_stream(encoding.codec, rate=video.average_rate)
    context, of = stream.codec_context, video.codec_context
    turned = first.rotation % 180 != 0
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    context.width, context.height = width, height
    context.pix_fmt = _pixel_format(stream.codec, first.format, odd=bool(width % 2 or height % 2))
    # Times are kept, not made from a rate: frames may be of any length.
    stream.time_base = context.time_base = video.time_base
    context.options = encoding.to_dict()
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(context, name, getattr(of, name))
    stream.metadata.update({k: v for k, v in video.metadata.items() if k != "rotate"})
    return stream


def _add_copy(made: Any, stream: Any) -> Any:
    try:
        copy = made.add_stream_from_template(stream)
    except ValueError as error:  # the container does not take the codec
        raise OutputError(
            f"cannot copy stream {stream.index} ({stream.type})",
            found=str(error),
            hint="an .mkv takes any codec and any sound",
        ) from error
    copy.metadata.update(stream.metadata)
    return copy


def _pixel_format(codec: Any, format: Any, *, odd: bool) -> str:
    """The source's format if the encoder takes it, else the nearest common one."""
    known = [f.name for f in codec.video_formats or ()]
    deep = _depth(format) > 8
    # Halved chroma needs even sides.
    common = ["yuv444p10le" if odd else "yuv420p10le"] if deep else []
    common += ["yuv444p"] if odd else ["yuv420p", "yuv444p"]
    wanted = common if odd and "444" not in format.name else [format.name, *common]
    return next((name for name in wanted if name in known), known[0] if known else format.name)


def _depth(format: Any) -> int:
    return max(int(component.bits) for component in format.components)


def _careful(av: Any) -> Any:
    """How colours are converted: without these flags luma sinks by 1 each way."""
    kinds = av.video.reformatter.Interpolation
    rounded, full = kinds.ACCURATE_RND, kinds.FULL_CHR_H_INT | kinds.FULL_CHR_H_INP
    return kinds.BICUBIC | rounded | full


def _pixels(av: Any, frame: Any) -> Any:
    """(H, W, 3), upright; uint16 if the frame has more than 8 bits a channel, else uint8."""
    matrix, scale = _colours(frame)
    kind = "rgb48le" if _depth(frame.format) > 8 else "rgb24"
    rgb = frame.reformat(
        format=kind,
        src_colorspace=matrix,
        src_color_range=scale,
        dst_color_range=_FULL,
        interpolation=_careful(av),
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))


def _colours(frame: Any) -> tuple[int, int]:
    """The frame's YCbCr matrix and range as FFmpeg numbers them, guessed where it is silent."""
    matrix = frame.colorspace
    if matrix in (_RGB, _UNSPECIFIED):
        matrix = _BT709 if min(frame.width, frame.height) >= _HD else _BT601
    is_full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    return matrix, _FULL if is_full else _LIMITED


def _read(av: Any, found: Any, copied: list[Any], source: Path) -> Iterator[tuple[Any, Any]]:
    """Packets of copied streams, with None, and frames with their pixels, as they come."""
    for packet in _packets(av, found, copied, source):
        if packet.stream.type != "video":
            yield packet, None
            continue
        for frame in _decode(av, packet, source):
            yield frame, _pixels(av, frame)


def _packets(av: Any, found: Any, others: list[Any], source: Path) -> Iterator[Any]:
    try:
        yield from found.demux(found.streams.video[0], *others)
    except av.error.FFmpegError as error:
        raise _no_video(source, f"damaged data ({error.strerror})") from error


def _decode(av: Any, packet: Any, source: Path) -> Iterator[Any]:
    try:
        yield from packet.decode()
    except av.error.FFmpegError as error:
        raise _no_video(source, f"a damaged frame ({error.strerror})") from error


def _first_frame(av: Any, source: Path) -> Any:
    """It says what the streams do not: the rotation. Decoded in a pass of its own."""
    with _open(av, source) as container:
        for packet in _packets(av, container, [], source):
            for frame in _decode(av, packet, source):
                return frame
    raise _no_video(source, "a video stream without a frame")


def _open(av: Any, source: Path) -> Any:
    try:
        container = av.open(str(source))
    except FileNotFoundError:
        raise _no_video(source, "no such file") from None
    except (av.error.FFmpegError, OSError) as error:
        raise _no_video(source, f"something else ({error.strerror or error})") from error
    if source.is_file() and container.format.name.endswith(("image2", "_pipe")):
        container.close()
        raise _no_video(source, "a picture", "lorair-run infer restores it")
    if not container.streams.video:
        container.close()
        raise _no_video(source, "no video stream")
    return container


@contextmanager
def _writing(av: Any, target: Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise OutputError(
            f"cannot write {target}",
            found=error.strerror or str(error),
            hint="an .mkv takes any codec and any sound",
        ) from error


def _import_av() -> Any:
    require("restore a video", "video", "av")
    import av

    av.logging.set_level(av.logging.PANIC)  # what matters comes as an exception
    return av


def _no_video(source: Path, found: str, hint: str = "check the file") -> PictureError:
    return PictureError(f"cannot read {source}", wanted="a video", found=found, hint=hint)
