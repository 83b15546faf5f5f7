"""The results of `lorair-bench quality` and `lorair-bench tiles`."""

from typing import Literal

from pydantic import Field

from lorair.benchmarks.schema.parts import Base64, Count, Result, Seconds
from lorair.runtime.bundle.files import Stored


class Scores(Stored):
    """How close a picture is to its target: psnr* in dB, ssim* at most 1.

    Plain ones are on RGB, *_y on Y of YCbCr, *_authors as the authors' script computes them
    (None in older files).
    """

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    psnr_authors: float | None = None
    ssim_authors: float | None = None


class Preview(Stored):
    """Small versions of a picture, each a JPEG file in base64."""

    degraded: Base64
    restored: Base64
    truth: Base64
    format: Literal["jpeg"] = "jpeg"


class Picture(Stored):
    """A restored picture. route: the class with the largest gate."""

    name: str
    width: Count
    height: Count
    route: str
    before: Scores
    after: Scores
    preview: Preview | None = None


class Means(Stored):
    """The mean scores of all pictures, or of those of a data folder."""

    before: Scores
    after: Scores


class Published(Stored):
    """Means that the authors published, of psnr_authors and ssim_authors. pictures: how many."""

    dataset: str
    psnr: float
    ssim: float
    pictures: Count
    source: str


class QualityReport(Result):
    """What `lorair-bench quality` measured.

    groups: the means of each data folder, where there were several. published: the authors'
    numbers for the data set that `--dataset` named.
    """

    kind: Literal["quality"] = "quality"
    pictures: tuple[Picture, ...]
    mean: Means | None
    groups: dict[str, Means] = Field(default_factory=dict)
    published: Published | None = None


class TileRow(Stored):
    """A picture restored in tiles, against the same picture restored at once.

    tile: side of the tiles in pixels. psnr_db: of the values in [0, 255], not rounded. seam:
    the largest step of the difference between two neighbouring pixels, in levels of 255.
    """

    picture: str
    width: Count
    height: Count
    tile: Count
    psnr_db: float
    seam: float
    seconds: Seconds
    untiled_seconds: Seconds


class TilesReport(Result):
    """What `lorair-bench tiles` measured."""

    kind: Literal["tiles"] = "tiles"
    backend: str
    rows: tuple[TileRow, ...]
