"""What a run leaves out of its folders, so that nothing is passed over in silence."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final, Generic, TypeVar

from lorair.runtime.images import why_not

_Place = TypeVar("_Place", Path, str)

FOLDER: Final = "--recursive enters it"
"""Why a folder in a folder is left out."""


@dataclass(frozen=True)
class LeftOut(Generic[_Place]):
    """A file or folder that is not restored, and why."""

    place: _Place
    reason: str

    def to_dict(self) -> dict[str, str]:
        """As plain values for JSON."""
        return {"input": str(self.place), "reason": self.reason}


def not_pictures(
    files: Iterable[PurePath], place: Callable[[PurePath], _Place]
) -> list[LeftOut[_Place]]:
    """Those of the files that cannot be restored; `place` gives where one of them is."""
    reasons = ((file, why_not(file)) for file in files)
    return [LeftOut(place(file), reason) for file, reason in reasons if reason is not None]


def summary(left_out: Sequence[LeftOut[Any]]) -> str:
    """As people read it: `2 files left out: 1 .heic (…), 1 .nef (raw: develop it first)`."""
    found = Counter((_kind(one), one.reason) for one in left_out)
    kinds: dict[str, list[str]] = {}
    for (kind, reason), count in sorted(found.items()):
        kinds.setdefault(reason, []).append(f"{count} {kind}")
    parts = (f"{', '.join(some)} ({reason})" for reason, some in kinds.items())
    total = len(left_out)
    what = "left out" if ("folder", FOLDER) in found else f"file{'s'[: total > 1]} left out"
    return f"{total} {what}: {', '.join(parts)}"


def _kind(left_out: LeftOut[Any]) -> str:
    if left_out.reason == FOLDER:
        return "folder"
    return PurePath(str(left_out.place)).suffix.lower() or "without an ending"
