"""Options that several commands of lorair-bench take."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorair.runtime.errors import OptionError

if TYPE_CHECKING:
    from lorair.exporter.engines.sizes import Size

ReportOption = Annotated[
    Path | None, typer.Option(help="Write the result as JSON to this file.", metavar="FILE")
]
PresetOption = Annotated[str, typer.Option(help="Shape of the network: setting1 or tiny.")]
SizesOption = Annotated[
    list[str], typer.Option("--size", metavar="HxW", help="Size of the picture. Repeatable.")
]
RoundsOption = Annotated[int, typer.Option(min=1, help="Number of timed rounds.")]


DEFAULT_SIZES: Final = ["256x256", "512x512"]


def parse_sizes(texts: Sequence[str]) -> "list[Size]":
    """Return the sizes that `--size` named.

    Raises OptionError: a text is no size, or one of a picture that is too large.
    """
    from lorair.exporter.engines.sizes import Size
    from lorair.runtime.images import DEFAULT_MAX_PIXELS

    sizes = [Size.parse("--size", text) for text in texts]
    for size in sizes:
        if size.height * size.width > DEFAULT_MAX_PIXELS:
            limit = f"at most {DEFAULT_MAX_PIXELS // 10**6} megapixels"
            raise OptionError("--size", wanted=limit, found=str(size))
    return sizes
