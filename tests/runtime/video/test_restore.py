"""Video over a made clip: times, sound, colours, routes, and what goes wrong."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
import pytest
from command import Command
from processes import LIMIT

from lorair import Route
from lorair.runtime.errors import OptionError, OutputError, PictureError
from lorair.runtime.video import restore as module
from lorair.runtime.video.formats import DEFAULT_CODEC, VideoEncoding
from lorair.runtime.video.guide import RouteGuide
from lorair.runtime.video.restore import Summary, restore_video

av = pytest.importorskip("av")

SIZE = (48, 64)
ROUTE = Route(
    np.zeros(2, np.float32), np.array([1, 0], np.float32), np.zeros(4, np.float32), ("a", "b")
)


class Same:
    """A restorer that changes nothing, and one that inverts."""

    jobs = 1

    def __init__(self, change: Any = lambda image: image) -> None:
        self.change, self.shapes = change, set[tuple[int, ...]]()

    def restore(self, image: np.ndarray, route: Route, strength: float) -> Any:
        self.shapes.add((*image.shape, image.itemsize))
        return type("Restored", (), {"image": self.change(image)})


def times(count: int) -> list[int]:
    """Milliseconds at which frames start: 25 a second, with gaps and a doubled rate."""
    starts, now = [], 0
    for index in range(count):
        starts.append(now)
        now += (40, 40, 20, 120, 33)[index % 5]
    return starts


def frames(count: int, scenes: int = 2) -> Iterator[np.ndarray]:
    """Drifting gradients; each scene has a colour of its own."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for index in range(count):
        level = (60, 170, 110)[index * scenes // count % 3]
        ramp = (x + y + index) % 64
        yield np.stack([level + ramp // 2, ramp + 20, 200 - ramp], -1).astype(np.uint8)


def make_clip(path: Path, count: int = 20, *, sound: bool = True, **video: Any) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "A made clip"
        stream = container.add_stream(video.get("codec", "libx264"), rate=25)
        stream.width, stream.height = SIZE[1], SIZE[0]
        stream.pix_fmt = video.get("pix_fmt", "yuv444p")
        stream.options = {"crf": "0"} if "codec" not in video else {}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if "rotation" in video:
            stream.set_display_rotation(video["rotation"])
        audio = container.add_stream("aac", rate=48000) if sound else None
        for pixels, start in zip(frames(count), times(count), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(1024 * 40) / 20).astype(np.float32)[None]
            for start in range(0, tone.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], "fltp", "mono")
                block.sample_rate, block.pts = 48000, start
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def video_of(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with av.open(str(path)) as container:
        return [
            (f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)
        ]


def sound_of(path: Path) -> list[tuple[Any, bytes]]:
    with av.open(str(path)) as container:
        return [
            (p.pts * p.time_base, bytes(p)) for p in container.demux(audio=0) if p.dts is not None
        ]


def restore(source: Path, target: Path, restorer: Any = None, **options: Any) -> Summary:
    encoding = options.pop("encoding", VideoEncoding(crf=0))
    guide = RouteGuide(lambda picture: ROUTE, **options)
    return restore_video(restorer or Same(), source, target, guide, encoding)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
def test_times_sound_and_metadata_are_kept(ending: str, tmp_path: Path) -> None:
    clip, target = make_clip(tmp_path / f"clip{ending}"), tmp_path / f"out{ending}"
    done = restore(clip, target, Same(lambda image: 255 - image))
    before, after = video_of(clip), video_of(target)
    assert done.frames == len(before) == len(after) == 20
    assert [time for time, _ in after] == [time for time, _ in before]
    assert len({b - a for (a, _), (b, _) in pairwise(before)}) >= 4
    for (_, was), (_, now) in zip(before, after, strict=True):
        assert np.abs(255 - now.astype(int) - was).mean() < 1.5
    assert sound_of(target) == sound_of(clip)
    assert len(sound_of(target)) > 30
    with av.open(str(target)) as container:
        assert container.metadata["title"] == "A made clip"
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"clip{ending}", f"out{ending}"]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuvj420p", "yuv422p"])
def test_colours_do_not_shift(pix_fmt: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 4, sound=False, pix_fmt=pix_fmt)
    restore(clip, tmp_path / "out.mkv")
    with av.open(str(clip)) as source, av.open(str(tmp_path / "out.mkv")) as made:
        for was, now in zip(source.decode(video=0), made.decode(video=0), strict=True):
            assert was.format.name == now.format.name
            assert (was.colorspace, was.color_range) == (now.colorspace, now.color_range)
            before, after = (np.asarray(f.to_ndarray(), int) for f in (was, now))
            # Chroma at half the resolution is interpolated and reduced; luma comes back.
            assert np.abs(after - before).mean() < 0.6
            assert abs((after - before).mean()) < 0.2


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 3, sound=False, pix_fmt="yuv420p10le")
    restorer = Same()
    done = restore(clip, tmp_path / "out.mkv", restorer)
    assert restorer.shapes == {(*SIZE, 3, 2)}
    assert done.notes == ()
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_turned_videos_are_restored_upright(rotation: int, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 3, sound=False, rotation=rotation)
    restorer = Same()
    restore(clip, tmp_path / "out.mp4", restorer)
    upright = (SIZE[1], SIZE[0]) if rotation % 180 else SIZE
    assert restorer.shapes == {(*upright, 3, 1)}
    with av.open(str(clip)) as turned, av.open(str(tmp_path / "out.mp4")) as made:
        before, after = (next(c.decode(video=0)) for c in (turned, made))
        assert before.rotation % 360 == rotation % 360
        assert after.rotation == 0
        # FFmpeg: the angle by which a player turns the picture, counterclockwise.
        wanted = np.rot90(before.to_ndarray(format="rgb24"), rotation // 90)
        assert np.abs(after.to_ndarray(format="rgb24").astype(int) - wanted).mean() < 2


def test_odd_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SIZE", (47, 63))
    clip = make_clip(tmp_path / "clip.mkv", 3, sound=False)
    restore(clip, tmp_path / "out.mkv")
    assert video_of(tmp_path / "out.mkv")[0][1].shape == (47, 63, 3)


def test_routes_follow_the_scenes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 40)
    done = restore(clip, tmp_path / "out.mp4", every=0)
    assert [(c.index, c.reason) for c in done.changes] == [(0, "first"), (20, "cut")]
    assert done.asked == 2


def test_the_command(lorair_run: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 6)
    result = lorair_run("video", clip, "-b", tiny_bundle, "--backend", "onnxruntime", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["frames"] == 6
    assert report["output"].endswith("clip.restored.mp4")
    assert [c["frame"] for c in report["changes"]] == [0, 3]
    again = lorair_run(
        "video", clip, "-b", tiny_bundle, "-o", tmp_path / "b.mkv", "--codec", "ffv1",
        "--route-every", "1", "--backend", "onnxruntime",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert "the router was asked 6x" in again.out


def test_frames_are_decoded_and_encoded_while_another_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the file is, to the bit, what one after the other gives."""
    clip = make_clip(tmp_path / "clip.mp4", 8, sound=False)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_in_threads", lambda work, items, *_: map(work, items))
        patch.setattr(module, "closing", nullcontext)
        restore(clip, tmp_path / "wanted.mp4")

    decoded, encoded, numbers = Semaphore(0), Semaphore(0), count()
    pixels, encode = module._pixels, module._Writer._encode

    def decode_and_tell(*arguments: Any) -> Any:
        decoded.release()
        return pixels(*arguments)

    def encode_and_tell(*arguments: Any) -> None:
        encode(*arguments)
        encoded.release()

    def wait_for_both(image: np.ndarray) -> np.ndarray:
        number = next(numbers)
        for _ in range(2 if number == 0 else int(number < 7)):
            assert decoded.acquire(timeout=LIMIT), "the next frame is decoded"
        if number:
            assert encoded.acquire(timeout=LIMIT), "the last frame is encoded"
        return image

    monkeypatch.setattr(module, "_pixels", decode_and_tell)
    monkeypatch.setattr(module._Writer, "_encode", encode_and_tell)
    restore(clip, tmp_path / "found.mp4", Same(wait_for_both))
    assert (tmp_path / "found.mp4").read_bytes() == (tmp_path / "wanted.mp4").read_bytes()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    clip, target = make_clip(tmp_path / "clip.mp4", 6), tmp_path / "out.mp4"
    target.write_bytes(b"what was there")

    def fail(image: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(clip, target, Same(fail))
    assert target.read_bytes() == b"what was there"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        audio = container.add_stream("aac", rate=48000)
        container.mux(audio.encode(None))
    for name, words in (
        ("text.mp4", "found something else .Invalid data"),
        ("nowhere.mp4", "found no such file"),
        ("sound.mkv", "wanted a video"),
    ):
        with pytest.raises(PictureError, match=words):
            restore(tmp_path / name, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 3)
    for target, codec, kind, words in (
        ("out.gif", DEFAULT_CODEC, OutputError, r"wanted one of the endings \.mp4"),
        ("clip.mp4", DEFAULT_CODEC, OutputError, "an input or output of this run"),
        ("out.mp4", "nonsense", OptionError, r"fits \.mp4: here libx264, .*found nonsense"),
        ("out.mp4", "aac", OptionError, "wanted a video encoder"),
        ("out.webm", DEFAULT_CODEC, OptionError, r"fits \.webm: here libvpx-vp9, .*found libx264"),
        ("out.webm", "libvpx-vp9", OutputError, r"an \.mkv takes any codec"),
    ):
        with pytest.raises(kind, match=words):
            restore(clip, tmp_path / target, encoding=VideoEncoding(codec, 30))
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_webm_needs_no_codec(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.webm", 2, sound=False, codec="libvpx-vp9", pix_fmt="yuv420p")
    assert restore(clip, tmp_path / "b.webm", encoding=None).frames == 2
    with av.open(str(tmp_path / "b.webm")) as container:
        assert container.streams.video[0].codec_context.name == "vp9"
    assert VideoEncoding.for_file(clip).crf == VideoEncoding.for_file(clip, DEFAULT_CODEC).crf == 18
    assert VideoEncoding.for_file(clip, "ffv1").crf is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("clip.mp4", "--codec", "nonsense"), "found nonsense; leave it out"),
        (("clip.mp4", "-o", "x.gif"), "wanted one of the endings"),
        (("nowhere.mp4",), "found no such file"),
    ],
)
def test_mistakes_come_before_a_backend(
    arguments: tuple[str, ...], words: str, lorair_run: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4", 2)
    result = lorair_run("video", *arguments, "--backend", "abacus")
    assert (result.code, words in result.error) == (2, True), result.error


@pytest.mark.parametrize("option", ["preset", "=x", "a="])
def test_bad_encoder_options(option: str, lorair_run: Command, tmp_path: Path) -> None:
    result = lorair_run("video", tmp_path / "x.mp4", "--encoder-option", option)
    assert result.code == 2
    assert "wanted NAME=VALUE" in result.error
