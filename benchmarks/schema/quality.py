"""Of `lorair-bench quality` and `tiles`."""

from typing import Literal

from pydantic import Field

from lorair.benchmarks.schema.parts import Base64, Count, Part, Result, Seconds


class Scores(Part):
    """A picture against its target: psnr* in dB; ssim* at most 1.

    *_y: on Y of YCbCr. *_authors: as the authors' script computes them; None in older files.
    """

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float
    psnr_authors: float | None = None
    ssim_authors: float | None = None


class Preview(Part):
    """Small versions of a picture, each a file in base64."""

    degraded: Base64
    restored: Base64
    truth: Base64
    format: Literal["jpeg"] = "jpeg"


class Picture(Part):
    """A restored picture, before and after."""

    name: str
    width: Count
    height: Count
    route: str
    before: Scores
    after: Scores
    preview: Preview | None = None


class Means(Part):
    """Over all pictures, or all of a group."""

    before: Scores
    after: Scores


class Published(Part):
    """What the authors published: for psnr_authors, ssim_authors, over so many pictures."""

    dataset: str
    psnr: float
    ssim: float
    pictures: Count
    source: str


class QualityReport(Result):
    """`lorair-bench quality`.

    groups: the means of each data folder, where there were several. published: of the data
    set that the run was told it has.
    """

    kind: Literal["quality"] = "quality"
    pictures: tuple[Picture, ...]
    mean: Means | None
    groups: dict[str, Means] = Field(default_factory=dict)
    published: Published | None = None


class TileRow(Part):
    """A picture in tiles against the same at once.

    tile: their side, pixels. psnr_db: of the values in [0, 255], not rounded. seam: the
    largest step of their difference between two neighbouring pixels, in levels of 255.
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
    """`lorair-bench tiles`."""

    kind: Literal["tiles"] = "tiles"
    backend: str
    rows: tuple[TileRow, ...]
