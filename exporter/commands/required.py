"""Packages that a command needs, looked for before it begins."""

from importlib import import_module

from lorair.runtime.errors import DependencyError


def require(*packages: str) -> None:
    """Raise DependencyError if one of these, all in the `export` extra, cannot be imported."""
    for name in packages:
        try:
            import_module(name)
        except ImportError as error:
            raise DependencyError(
                "cannot export",
                wanted=f"the package {name}",
                found=str(error),
                hint="pip install 'lorair[export,cpu]'",
            ) from error
