"""Options that several of lorair-run's commands take."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.runtime.errors import OptionError


def _backend_names() -> list[str]:
    from lorair.runtime.backends import AUTO, BACKENDS

    return [AUTO, *BACKENDS]


def input_path(text: str) -> Path:
    """A path; an empty text, of an unset variable say, is not the current folder.

    Raises:
        OptionError: the text is empty.
    """
    if not text:
        raise OptionError("INPUT", wanted="a path", found="an empty text", hint="check the command")
    return Path(text)


BundleOption = Annotated[
    Path, typer.Option("--bundle", "-b", envvar="LORAIR_BUNDLE", help="The bundle's folder.")
]
BackendOption = Annotated[
    str,
    typer.Option(
        help="What runs the network; `lorair-run doctor` lists them.",
        autocompletion=_backend_names,
    ),
]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads, for all pictures in work.")]
MaxPixelsOption = Annotated[
    int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")
]

DEFAULT_BUNDLE = Path("lorair-bundle")
MAX_PIXELS = 200_000_000
