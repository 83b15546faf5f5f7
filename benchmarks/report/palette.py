"""Colours by their role, for light and dark.

Those of series are by Okabe and Ito, and can be told apart with every kind of colour vision;
some are darkened or lightened so that they stand out from the paper.
"""

from typing import Final

ROLES: Final[dict[str, tuple[str, str]]] = {
    "paper": ("#ffffff", "#14171b"),
    "panel": ("#f4f6f8", "#1d2127"),
    "ink": ("#1b1f24", "#e7e9ec"),
    "muted": ("#59626d", "#a7afb9"),
    "line": ("#d3d9df", "#3b424b"),
    "link": ("#005a8e", "#6cb8ee"),
    "alert": ("#a33c00", "#ff9a5c"),
    "blue": ("#0072b2", "#4aa3df"),
    "orange": ("#e69f01", "#f0b43c"),
    "green": ("#009e73", "#2fc79c"),
    "vermillion": ("#d55e00", "#f07f3a"),
    "purple": ("#b4608f", "#e09cc4"),
    "sky": ("#56b4e9", "#8fd0f7"),
    "olive": ("#8f8400", "#e5da4a"),
    "grey": ("#8a9199", "#8d959e"),
}

LIGHT: Final = {role: light for role, (light, _) in ROLES.items()}
SERIES: Final = tuple(
    LIGHT[role] for role in ("blue", "orange", "green", "vermillion", "purple", "sky", "olive")
)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")

_VARIABLES: Final = {light: f"var(--{role})" for role, (light, _) in ROLES.items()}


def variable(color: str) -> str:
    """Return the CSS variable of a light colour; other colours stay."""
    return _VARIABLES.get(color.lower(), color)


def declarations(dark: bool) -> str:
    """Return the CSS variables of one theme."""
    return " ".join(f"--{role}: {both[dark]};" for role, both in ROLES.items())
