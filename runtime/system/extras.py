"""Packages of the optional extras: whether they are there, and which command brings them."""

from lorair.runtime.errors import DependencyError
from lorair.runtime.system.machine import is_installed


def require(what: str, extra: str, *packages: str) -> None:
    """Raise DependencyError for the first package that is not installed; imports nothing.

    Args:
        what: that cannot be done without, such as `serve`.
        extra: of lorair, which brings the packages; several with commas.
        packages: as they are imported.
    """
    for name in packages:
        if not is_installed(name):
            raise DependencyError(
                f"cannot {what}",
                wanted=f"the package {name}",
                found="it is not installed",
                hint=f"pip install 'lorair[{extra}]'",
            )
