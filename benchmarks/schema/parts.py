"""What results of every kind are made of: number types, the environment, the bundles."""

from typing import Annotated, Final, Literal

from pydantic import Field

from lorair.runtime.bundle.files import Stored

SCHEMA_VERSION: Final = 2

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Samples = tuple[Seconds, ...]
Count = Annotated[int, Field(ge=0, strict=True)]
Bytes = Annotated[int, Field(ge=0)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
Value = bool | int | float | str | None
Row = dict[str, Value]


class Gpu(Stored):
    """A GPU as the driver describes it.

    sm: compute capability times ten. memory: in bytes.
    """

    name: str
    sm: int
    memory: Bytes


class Environment(Stored):
    """The machine and the software of a measurement; None stands for not known.

    cores: logical cores that the process may use. affinity: their numbers. cpu_quota: how many
    cores' worth of time the container may use, None without a limit. cuda: the newest version
    that the driver supports.
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


class Sized(Stored):
    """A part about pictures of one size, in pixels."""

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]

    @property
    def size(self) -> str:
        """Return height x width."""
        return f"{self.height}x{self.width}"


class BundleRecord(Stored):
    """A bundle that was measured.

    label: its name in the configurations. digest: of its manifest. precision: of both
    branches, as in `fp32, router int8`. source: where its weights came from. model: the shape
    of its network, with the manifest's names.
    """

    label: str
    digest: str | None = None
    precision: str
    source: str
    model: Row = Field(default_factory=dict)


class Result(Stored):
    """What results of every kind have.

    command: the arguments, the script's name first. date: of the start, ISO 8601 with its
    offset. complete: false if the run was interrupted; what it had measured until then is
    there.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    complete: bool = True
    command: tuple[str, ...] = ()
    date: str | None = None
    environment: Environment
    bundles: tuple[BundleRecord, ...] = ()
    settings: Row = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
