"""What goes in and comes out over HTTP, typed; OpenAPI is made from it."""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lorair.runtime.errors import LorairError
from lorair.runtime.routing.route import Route
from lorair.runtime.system.console import lorair_version
from lorair.runtime.tiles import MIN_TILE

if TYPE_CHECKING:
    from lorair.runtime.serve.service import Service, Wishes

MAX_TILE = 1024
"""Larger ones could ask for more memory than `auto` would dare to take."""

MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "avif": "image/avif",
}
"""The media type of each format that is written."""

RequestId = Annotated[
    str,
    Field(
        pattern=r"^[0-9A-Za-z_-]{8,64}$",
        description="Any word of your own, to ask `/v1/progress/{id}` with while you wait.",
        examples=["5f0c2a4e-0f1b"],
    ),
]

Share = Annotated[float, Field(ge=0, le=1)]


class RestoreQuery(BaseModel):
    """How a picture is restored: the options of `lorair-run infer`."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        Literal["png", "jpg", "webp", "tiff", "bmp", "avif"],
        Field(description="Of the restored picture."),
    ] = "png"
    quality: Annotated[
        int | None, Field(ge=1, le=100, description="Of jpg, webp and avif; 95 if left out.")
    ] = None
    expert: Annotated[
        str | None,
        Field(max_length=200, description="This expert alone, instead of the router's gates.",
              examples=["rain"]),
    ] = None  # fmt: skip
    gates: Annotated[
        str | None,
        Field(max_length=2000, description="These gates, which sum to 1, instead of the router's.",
              examples=["rain=0.7,snow=0.3"]),
    ] = None  # fmt: skip
    tile: Annotated[
        str,
        Field(pattern=r"^(auto|[0-9]{1,5})$",
              description=f"Side of the tiles, {MIN_TILE} to {MAX_TILE} pixels; `auto`: tiles "
              "where memory asks for them."),
    ] = "auto"  # fmt: skip
    strength: Annotated[
        Share, Field(description="How much of the change is made; 0 leaves it as it was.")
    ] = 1.0
    id: RequestId | None = None

    @field_validator("tile")
    @classmethod
    def _in_range(cls, tile: str) -> str:
        if tile != "auto" and not MIN_TILE <= int(tile) <= MAX_TILE:
            raise ValueError(f"a side of {MIN_TILE} to {MAX_TILE} pixels")
        return tile

    def wishes(self, service: "Service") -> "Wishes":
        """As the service takes them. Raises OptionError."""
        tile: Any = self.tile if self.tile == "auto" else int(self.tile)
        return service.wishes(
            self.format, self.quality, self.expert, self.gates, tile, self.strength
        )


class RouteReply(BaseModel):
    """What the router saw, or which gates were asked for.

    `X-Lorair-Route` of a restored picture has the same keys.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "class": "rain",
                    "gates": {"snow": 0.0, "rain": 1.0, "raindrop": 0.0},
                    "probabilities": {"snow": 0.02, "rain": 0.97, "raindrop": 0.01},
                    "logits": {"snow": -1.2, "rain": 2.7, "raindrop": -1.9},
                    "margin": 0.95,
                    "unsure": False,
                    "width": 480,
                    "height": 320,
                    "notes": [],
                }
            ]
        }
    )

    class_: Annotated[str, Field(alias="class", description="With the largest gate.")]
    gates: Annotated[dict[str, Share], Field(description="Sum to 1.")]
    probabilities: Annotated[dict[str, Share], Field(description="Softmax of the logits.")]
    logits: dict[str, float]
    margin: Annotated[float, Field(description="Between the two largest probabilities.")]
    unsure: Annotated[bool, Field(description="The margin is small: worth a look.")]
    width: int
    height: int
    notes: Annotated[
        list[str], Field(description="What was lost on the way, and what deserves a look.")
    ]

    @classmethod
    def of(cls, route: Route, size: tuple[int, int], notes: tuple[str, ...]) -> "RouteReply":
        """From our own types."""
        said = route.to_dict()
        return cls(**said, width=size[0], height=size[1], notes=list(notes))

    def to_header(self) -> str:
        """As one line of ASCII, numbers to six decimals."""
        return json.dumps(
            json.loads(
                self.model_dump_json(by_alias=True), parse_float=lambda text: round(float(text), 6)
            ),
            separators=(",", ":"),
        )


class ModelReply(BaseModel):
    """A bundle that is served."""

    name: Annotated[str, Field(examples=["lorair-bundle"])]
    classes: Annotated[list[str], Field(examples=[["snow", "rain", "raindrop"]])]
    top_k: Annotated[int, Field(description="Gates that the router leaves above 0.")]
    precision: Annotated[str, Field(examples=["fp32"])]
    backend: Annotated[str, Field(examples=["ONNX Runtime 1.31.1, CPU, 2 threads"])]
    digest: Annotated[str, Field(description="sha256 of the bundle's manifest.")]


class Limits(BaseModel):
    """What the server takes."""

    max_bytes: Annotated[int, Field(description="Of a request's body.")]
    max_pixels: Annotated[int, Field(description="Of a picture.")]
    timeout: Annotated[float, Field(description="Seconds for a picture, waiting included.")]
    at_once: Annotated[int, Field(description="Pictures in work at once.")]
    queue: Annotated[int, Field(description="Pictures that may wait beside those.")]


class ModelsReply(BaseModel):
    """What is served, and its limits."""

    lorair: Annotated[str, Field(examples=["0.2.0"])]
    models: list[ModelReply]
    formats: list[str]
    limits: Limits

    @classmethod
    def of(cls, service: "Service") -> "ModelsReply":
        """From a running service."""
        bundle, settings = service.restorer.bundle, service.settings
        model = ModelReply(
            name=bundle.path.resolve().name,
            classes=list(bundle.manifest.model.classes),
            top_k=bundle.manifest.model.top_k,
            precision=bundle.manifest.precisions,
            backend=service.restorer.backend.description,
            digest=bundle.manifest.digest,
        )
        limits = Limits(
            max_bytes=settings.max_bytes,
            max_pixels=settings.max_pixels,
            timeout=settings.timeout,
            at_once=service.restorer.jobs,
            queue=settings.queue,
        )
        return cls(lorair=lorair_version(), models=[model], formats=list(MEDIA), limits=limits)


class ProgressReply(BaseModel):
    """How far a request is."""

    state: Annotated[
        Literal["unknown", "receiving", "queued", "running", "done"],
        Field(description="`receiving`: its body is still coming in. `unknown`: it has been "
              "answered, has not begun, or is another server's."),
    ]  # fmt: skip
    ahead: Annotated[int, Field(description="Pictures that wait before it.", examples=[0])]
    fraction: Annotated[float, Field(ge=0, le=1, description="Done of the running work, in tiles.")]
    detail: Annotated[
        str, Field(description="What was done last.", examples=["restoring, tile 7 of 12"])
    ] = ""


class StatusReply(BaseModel):
    """Of the probes."""

    status: Annotated[str, Field(examples=["ok"])]


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it, and as `lorair-run` says it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "cannot read the picture: wanted a picture (PNG, JPEG, WebP, TIFF, "
                    "BMP, AVIF), found an empty file; check the file or export it again",
                    "what": "cannot read the picture",
                    "wanted": "a picture (PNG, JPEG, WebP, TIFF, BMP, AVIF)",
                    "found": "an empty file",
                    "hint": "check the file or export it again",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: Annotated[str, Field(description="The status in words.")]
    status: int
    detail: Annotated[str, Field(description="Everything below in one line.")]
    what: Annotated[str, Field(description="What failed.")]
    wanted: str | None = None
    found: str | None = None
    hint: Annotated[str | None, Field(description="What to do next.")] = None

    @classmethod
    def of(cls, error: LorairError, status: int) -> "Problem":
        """From our own error; options lose the dashes of the command line."""
        what = error.what.removeprefix("--")
        words = {name: getattr(error, name) for name in ("wanted", "found", "hint")}
        detail = LorairError(what, **words).line()
        title = HTTPStatus(status).phrase
        return cls(title=title, status=status, detail=detail, what=what, **words)
