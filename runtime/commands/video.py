"""lorair-run video."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lorair.runtime.commands import options as shared
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console
from lorair.runtime.video.formats import VideoEncoding
from lorair.runtime.video.guide import DEFAULT_CUT, DEFAULT_EASE, DEFAULT_EVERY, RouteGuide
from lorair.runtime.video.restore import Summary, check, restore_video


def video(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEO", help="The video to restore, in any format that FFmpeg reads."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write. Default: STEM.restored.mp4, or .mkv and .webm for such.",
        ),
    ] = None,
    bundle: shared.BundleOption = shared.DEFAULT_BUNDLE,
    backend: shared.BackendOption = "auto",
    threads: shared.ThreadsOption = None,
    every: Annotated[
        int,
        typer.Option(
            "--route-every", help="Ask the router every so many frames; 0 asks only after cuts."
        ),
    ] = DEFAULT_EVERY,
    ease: Annotated[
        int, typer.Option(help="Mix a new route within a scene in over so many frames.")
    ] = DEFAULT_EASE,
    cut: Annotated[
        float,
        typer.Option(
            "--scene-cut",
            help="The difference between two frames, from 0 to 1, that counts as a cut.",
        ),
    ] = DEFAULT_CUT,
    strength: shared.StrengthOption = 1.0,
    codec: Annotated[
        str | None,
        typer.Option(
            help="The FFmpeg encoder to write with. Default: libx264, or libvpx-vp9 for .webm."
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            help="The encoder's constant quality; less is better. Default: 18 for these two, "
            "the encoder's own for others."
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder-option",
            metavar="NAME=VALUE",
            help="An option of the encoder, such as preset=slow.",
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore a video, and copy its sound, subtitles, times and metadata."""
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.system.machine import default_jobs

    kept = source.suffix.lower() if source.suffix.lower() in (".mkv", ".webm") else ".mp4"
    target = output or source.with_name(f"{source.stem}.restored{kept}")
    encoding = VideoEncoding.for_file(target, codec, crf, _pairs(options or []))
    check(source, target, encoding)
    restorer = Restorer.open(bundle, backend, threads, default_jobs(threads))
    guide = RouteGuide(restorer.route, every, ease, cut)
    if not as_json:
        console.note(shared.backend_note(restorer))
    start = time.perf_counter()
    with console.progress(f"restore {source.name}") as report:
        done = restore_video(
            restorer, source, target, guide, encoding,
            lambda frame, frames: report(frame / (frames or frame), _detail(frame, frames, start)),
            strength,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    if as_json:
        console.print_json(_document(source, target, done, seconds))
    else:
        _print(source, target, done, seconds)


def _pairs(options: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [tuple(option.partition("=")[::2]) for option in options]
    for option, (name, value) in zip(options, pairs, strict=True):
        if not name or not value:
            raise OptionError(
                "--encoder-option", wanted="NAME=VALUE", found=option, hint="such as preset=slow"
            )
    return tuple((name, value) for name, value in pairs)


def _detail(frame: int, frames: int | None, start: float) -> str:
    rate = frame / (time.perf_counter() - start)
    if frames is None:
        return f"{frame} frames, {rate:.1f} a second"
    left = (frames - frame) / rate
    return f"{frame} of {frames}, {rate:.1f} a second, {left:.0f} s left"


def _document(source: Path, target: Path, done: Summary, seconds: float) -> dict[str, Any]:
    changes = [
        {"frame": change.index, "reason": change.reason, **change.route.to_dict()}
        for change in done.changes
    ]
    return {
        "lorair": console.lorair_version(),
        "input": str(source),
        "output": str(target),
        "frames": done.frames,
        "seconds": seconds,
        "routed": done.asked,
        "changes": changes,
        "notes": list(done.notes),
    }


def _print(source: Path, target: Path, done: Summary, seconds: float) -> None:
    out = console.stdout()
    out.print(f"{source} -> {target}", soft_wrap=True)
    rate = done.frames / seconds
    out.print(f"  frames  {done.frames}, {rate:.1f} a second; the router was asked {done.asked}x")
    for change in done.changes:
        out.print(
            f"  route   from frame {change.index} ({change.reason}): {change.route.summary()}"
        )
    for text in done.notes:
        console.note(f"{source}: {text}")
