"""Picture sizes, as `--size` takes them."""

import re
from dataclasses import dataclass

from lorair.runtime.errors import OptionError


@dataclass(frozen=True)
class Size:
    """Height and width of a picture in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def parse_size(text: str) -> Size:
    """`256x384` as a size. Raises OptionError if it is none, or of no picture."""
    from lorair.runtime.images import DEFAULT_MAX_PIXELS, MIN_PIXELS

    digits = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text.lower())
    size = Size(*map(int, digits.groups())) if digits else Size(0, 0)
    if not MIN_PIXELS <= size.height * size.width <= DEFAULT_MAX_PIXELS:
        raise OptionError(
            "--size",
            wanted=f"height x width of at most {DEFAULT_MAX_PIXELS // 10**6} megapixels",
            found=text,
            hint="such as 256x384",
        )
    return size
