"""Gates as people write them: `rain=0.7,snow=0.3`, or one expert by its name."""

from typing import Final

import numpy as np
import numpy.typing as npt

from lorair.runtime.errors import OptionError

Gates = npt.NDArray[np.float32]
"""(E,): the share of each expert; they sum to 1, or are all 0 for the network without any."""

NONE: Final = "none"
"""What stands for no expert where one is named."""

SUM_TOLERANCE: Final = 1e-3
"""Thirds written with three digits pass."""


def parse_gates(text: str, classes: tuple[str, ...]) -> Gates:
    """`rain=0.7,snow=0.3` -> (E,); classes that are not named have 0.

    Raises OptionError: not that form, an unknown or repeated class, no share, or another sum.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        share = _number(value)
        if not equals or share is None or name in shares:
            raise _bad_gates("NAME=SHARE,... with each name once and shares of 0 to 1", part)
        _check_class("--gates", name, classes)
        shares[name] = share
    total = sum(shares.values())
    if abs(total - 1) > SUM_TOLERANCE:
        hint = "divide each by the sum" if total > 0 else "give at least one class a share"
        raise _bad_gates("shares that sum to 1", f"{total:g}", hint)
    return np.array([shares.get(name, 0) for name in classes], np.float32)


def one_expert(name: str, classes: tuple[str, ...]) -> Gates:
    """(E,): 1 for the class, 0 for the others; all 0 for `none`, if no class has that name.

    Raises OptionError: there is no such class.
    """
    if name == NONE and name not in classes:
        return np.zeros(len(classes), np.float32)
    _check_class("--expert", name, classes)
    return np.array([float(name == other) for other in classes], np.float32)


def chosen_gates(expert: str | None, gates: str | None, classes: tuple[str, ...]) -> Gates | None:
    """Return the gates of one expert or as they are written; None to leave them to the router.

    Raises OptionError: both are given, or one that cannot be.
    """
    if expert is None:
        return None if gates is None else parse_gates(gates, classes)
    if gates is not None:
        raise OptionError(
            "--expert", wanted="no --gates beside it", found=gates, hint="leave one of them out"
        )
    return one_expert(expert, classes)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _check_class(option: str, name: str, classes: tuple[str, ...]) -> None:
    if name not in classes:
        wanted = f"one of {', '.join(classes)}"
        raise OptionError(option, wanted=wanted, found=name, hint="these are the bundle's classes")


def _bad_gates(wanted: str, found: str, hint: str = "such as rain=0.7,snow=0.3") -> OptionError:
    return OptionError("--gates", wanted=wanted, found=found or "nothing", hint=hint)
