"""What results of every kind are made of: number types, the environment, the yardstick."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = 2

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Samples = tuple[Seconds, ...]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, strict=True)]
Bytes = Annotated[int, Field(ge=0)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
Value = bool | int | float | str | None
Row = dict[str, Value]


class Part(BaseModel):
    """A part of a result."""

    # Readers ignore keys they do not know, so that a minor addition breaks nobody.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Gpu(Part):
    """A GPU as the driver describes it. sm: compute capability times ten. memory: bytes."""

    name: str
    sm: int
    memory: Bytes


class Environment(Part):
    """What was measured on. None: not known.

    cores: logical ones that the process may use. affinity: their numbers. cpu_quota: cores'
    worth of time that the container may use, None without a limit. cuda: the newest that the
    driver serves.
    """

    cpu: str
    cores: Count
    affinity: tuple[int, ...] | None = None
    cpu_quota: float | None = None
    memory: Bytes
    system: str
    python: str
    versions: dict[str, str]
    gpus: tuple[Gpu, ...] = ()
    gpu_driver: str | None = None
    cuda: str | None = None


class YardstickSize(Part):
    """The yardstick beside the configurations of one size, round by round.

    total, cpu: as those of a configuration.
    """

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    total: tuple[Positive, ...]
    cpu: tuple[Positive, ...]

    @property
    def size(self) -> str:
        """Height x width."""
        return f"{self.height}x{self.width}"


class Yardstick(Part):
    """A fixed piece of work that was timed in turn with the configurations.

    Two are the same if all but sizes is equal. versions: of the libraries that it runs on.
    """

    name: str
    version: int
    threads: Annotated[int, Field(ge=1)]
    versions: dict[str, str]
    sizes: tuple[YardstickSize, ...] = ()

    def is_same(self, other: "Yardstick") -> bool:
        """Whether the two do the same work on the same libraries."""
        return self.model_copy(update={"sizes": ()}) == other.model_copy(update={"sizes": ()})


class BundleRecord(Part):
    """A bundle that was measured.

    label: what its configurations call it. digest: of its manifest, None in converted files.
    precision: of both branches, as in `fp32, router int8`. source: where its weights came
    from. model: its shape, by the manifest's names.
    """

    label: str
    digest: str | None = None
    precision: str
    source: str
    model: Row = Field(default_factory=dict)


class Result(Part):
    """What every kind has.

    command: the arguments, the script's name first; empty if not known. date: of the start,
    ISO 8601 with its offset. complete: false if the run was interrupted; what it had
    measured by then is there.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    complete: bool = True
    command: tuple[str, ...] = ()
    date: str | None = None
    environment: Environment
    bundles: tuple[BundleRecord, ...] = ()
    settings: Row = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
