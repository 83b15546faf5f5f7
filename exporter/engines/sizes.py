"""Shapes that engines take: the least, those they are tuned for, the largest."""

import re
from dataclasses import dataclass
from typing import Final

from lorair.runtime.bundle.engines import Branch, Range
from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import OptionError

DEFAULT_OPT: Final = 512
DEFAULT_MAX: Final = 1024
"""Sides in pixels. A runtime reserves memory for the largest; larger pictures are tiled."""


@dataclass(frozen=True)
class Size:
    """A size in pixels, both sides at least 1."""

    height: int
    width: int

    @classmethod
    def parse(cls, option: str, text: str) -> "Size":
        """Return the size that `HxW` says. Raises OptionError naming the option."""
        digits = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text.lower())
        if digits is None:
            raise OptionError(
                option, wanted="height x width", found=text, hint=f"such as {option} 512x512"
            )
        return cls(*map(int, digits.groups()))

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Sizes:
    """The sizes of pictures that an engine takes, and how many at once.

    min, opt, max: sides are multiples of the network's stride; None is a default that fits
        the others.
    batch: the most pictures at once, which is also what is tuned for.
    """

    min: Size | None = None
    opt: Size | None = None
    max: Size | None = None
    batch: int = 1

    def profiles(self, model: ModelInfo) -> dict[Branch, dict[str, Range]]:
        """Return the shapes of each branch's inputs that are not fixed.

        Raises OptionError: a side is no multiple of the stride, or the sizes do not ascend.
        """
        views = (5, 3, model.clip_side, model.clip_side)
        restorer = {"image": self.range(model.stride)}
        if self.batch > 1:
            restorer["prior"] = self._batches(model.prior)
        return {"router": {"views": self._batches(*views)}, "restorer": restorer}

    def _batches(self, *shape: int) -> Range:
        return Range(min=(1, *shape), opt=(self.batch, *shape), max=(self.batch, *shape))

    def range(self, stride: int) -> Range:
        """Return the shapes of the restorer's image.

        Raises OptionError: a side is no multiple of the stride, or the sizes do not ascend.
        """
        sides = zip(*(self._sides(axis, stride) for axis in ("height", "width")), strict=True)
        least, best, most = (Size(height, width) for height, width in sides)
        for option, size in (("--min", least), ("--opt", best), ("--max", most)):
            if size.height % stride or size.width % stride:
                raise OptionError(
                    option,
                    wanted=f"sides that are multiples of {stride}, the network's stride",
                    found=str(size),
                )
        if not (
            least.height <= best.height <= most.height and least.width <= best.width <= most.width
        ):
            raise OptionError(
                "sizes of the engine",
                wanted="--min <= --opt <= --max in height and width",
                found=f"{least}, {best}, {most}",
            )
        return Range(
            **{
                name: (pictures, 3, size.height, size.width)
                for name, pictures, size in (
                    ("min", 1, least),
                    ("opt", self.batch, best),
                    ("max", self.batch, most),
                )
            }
        )

    def _sides(self, axis: str, stride: int) -> tuple[int, int, int]:
        """Least, best and largest of one side, defaults filled in."""
        least, best, most = (getattr(s, axis, None) for s in (self.min, self.opt, self.max))
        least = least or min(stride, best or stride, most or stride)
        most = most or max(_up(DEFAULT_MAX, stride), least, best or 0)
        best = best or min(max(_up(DEFAULT_OPT, stride), least), most)
        return least, best, most


def _up(side: int, stride: int) -> int:
    return -(-side // stride) * stride
