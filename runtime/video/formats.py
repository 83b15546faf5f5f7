"""How videos are written: containers, encoders, and what fits what."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorair.runtime.errors import OptionError, OutputError
from lorair.runtime.system.console import check_outputs

CONTAINERS: Final = {
    ".mp4": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".webm": "webm",
    ".avi": "avi",
}
"""Endings that are written, and what FFmpeg calls them."""

DEFAULT_CODEC: Final = "libx264"
_WEBM_CODEC: Final = "libvpx-vp9"  # the container takes no H.264
_DEFAULT_CRF: Final = {DEFAULT_CODEC: 18, _WEBM_CODEC: 18}

_USUAL: Final = (
    DEFAULT_CODEC, "libx265", _WEBM_CODEC, "libsvtav1", "libaom-av1", "prores_ks", "ffv1", "mpeg4",
)  # fmt: skip
"""Encoders that are proposed where another does not do."""


@dataclass(frozen=True)
class VideoEncoding:
    """How frames are written.

    codec: of FFmpeg's encoders. crf: its constant quality, less is better; None for the
    codec's own default. options: more of the encoder's, such as preset.
    """

    codec: str = DEFAULT_CODEC
    crf: int | None = _DEFAULT_CRF[DEFAULT_CODEC]
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def for_file(
        cls,
        target: Path,
        codec: str | None = None,
        crf: int | None = None,
        options: tuple[tuple[str, str], ...] = (),
    ) -> "VideoEncoding":
        """Return an encoding; what is None is what such a file usually has."""
        codec = codec or (_WEBM_CODEC if target.suffix.lower() == ".webm" else DEFAULT_CODEC)
        return cls(codec, _DEFAULT_CRF.get(codec) if crf is None else crf, options)

    def to_dict(self) -> dict[str, str]:
        """As the encoder takes them."""
        quality = {} if self.crf is None else {"crf": str(self.crf)}
        return {**quality, **dict(self.options)}


def check_target(source: Path, target: Path) -> None:
    """Raise OutputError if `target` cannot be written."""
    if target.suffix.lower() not in CONTAINERS:
        raise OutputError(
            f"cannot write {target}",
            wanted=f"one of the endings {', '.join(CONTAINERS)}",
            found=target.suffix or "none",
            hint="name the output so",
        )
    check_outputs([target], [source])


def check_encoder(av: Any, target: Path, codec: str) -> None:
    """Raise OptionError if FFmpeg has no such encoder, or the container does not take it."""
    ending = target.suffix.lower()
    with av.open(io.BytesIO(), "w", format=CONTAINERS[ending]) as container:
        if _takes(av, container, codec):
            return
        fitting = ", ".join(_fitting(av, container))
    raise OptionError(
        "--codec",
        wanted=f"a video encoder that fits {ending}: here {fitting}",
        found=codec,
        hint="leave it out for the usual one, or name another ending with -o",
    )


def _fitting(av: Any, container: Any) -> Iterator[str]:
    return (codec for codec in _USUAL if _takes(av, container, codec))


def _takes(av: Any, container: Any, codec: str) -> bool:
    try:
        found = av.codec.Codec(codec, "w")
    except ValueError:  # FFmpeg was built without it
        return False
    return found.type == "video" and found.canonical_name in container.supported_codecs
