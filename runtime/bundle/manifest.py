"""The bundle: what is deployed. Its format is written down in docs/bundle.md.

A folder with `manifest.json`, two graphs and their weights. The manifest is written last
and the folder renamed into place, so a bundle is whole or is not there.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lorair.runtime.errors import BundleError

SCHEMA_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
ROUTER: Final = "router.onnx"
RESTORER: Final = "restorer.onnx"
KERNELS: Final = "kernels"
ENGINES: Final = "engines"
"""The folder of engines, which are added later; `engines` checks them by their own records."""

HASHED_ON_OPEN: Final = 64 * 2**20
"""Files below this many bytes are hashed at every open (0.1 s a GB); sizes always checked."""

Precision = Literal["fp32", "fp16"]
Count = Annotated[int, Field(ge=1, strict=True)]


class _Part(BaseModel):
    # Readers ignore keys they do not know, so that a minor addition breaks nobody.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelInfo(_Part):
    """What a runtime has to know of the network.

    clip_side: side of a router's view in pixels. stride: height and width of the
    restorer's input are multiples of it. prior: length of the degradation prior.
    width: the restorer's channels at full resolution, by which its memory grows.
    restoration, router: the branches' full configurations, for people.
    """

    classes: tuple[str, ...]
    experts: Count
    top_k: Count
    clip_side: Count
    stride: Count
    prior: Count
    width: Count = 64
    restoration: dict[str, Any] = Field(default_factory=dict)
    router: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> "ModelInfo":
        if len(self.classes) != self.experts:
            raise ValueError(f"{self.experts} experts but {len(self.classes)} classes")
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} of {self.experts} experts")
        return self


class FileInfo(_Part):
    """A file's content: sha256 in hexadecimal, size in bytes."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Weights(_Part):
    """A checkpoint that the bundle was built from."""

    name: str
    sha256: str


class Source(_Part):
    """Where the weights came from; `detail` says it in one sentence."""

    kind: Literal["files", "hub", "synthetic", "default"]
    detail: str
    ir: Weights | None = None
    router: Weights | None = None


class PictureParity(_Part):
    """One picture of the certificate. Errors are absolute, on float outputs before clamping."""

    name: str
    width: Count
    height: Count
    logits_error: float
    prior_error: float
    restored_error: float
    psnr_db: float
    route_changed: bool


class RouteParity(_Part):
    """The router against PyTorch float32 on photographs with and without flaws.

    prior_cosine: the least of all pictures, between the two priors.
    """

    pictures: Count
    changes: int
    prior_cosine: float

    def summary(self) -> str:
        """For people."""
        return (
            f"same on {self.pictures - self.changes} of {self.pictures} more pictures, "
            f"prior's least cosine {self.prior_cosine:.5f}"
        )


class Certificate(_Part):
    """The parity certificate: the bundle against PyTorch float32 on real photographs.

    psnr_db: the worst picture's, of clamped outputs with peak 1; 160 stands for equal.
    routes: what a check on more pictures found, where the router is quantized.
    """

    reference: str
    backend: str
    max_error: float
    psnr_db: float
    route_changes: int
    limits: dict[str, float]
    pictures: tuple[PictureParity, ...]
    routes: RouteParity | None = None


class Manifest(_Part):
    """`manifest.json`.

    precision: of weights and activations, but for the router's if `router_precision` is set.
    digest: sha256 of the other keys, as `content_digest` makes it.
    """

    schema_version: Count = SCHEMA_VERSION
    created_by: str
    precision: Precision
    router_precision: Literal["int8"] | None = None
    model: ModelInfo
    files: dict[str, FileInfo]
    source: Source
    certificate: Certificate | None = None
    digest: str = ""

    @property
    def precisions(self) -> str:
        """Both branches' precision for people: `fp32`, or `fp32, router int8`."""
        router = self.router_precision
        return self.precision if router is None else f"{self.precision}, router {router}"

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, FileInfo]) -> dict[str, FileInfo]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name:
                raise ValueError(f"{name!r} is not a path inside the bundle")
        for name in (ROUTER, RESTORER):
            if name not in files:
                raise ValueError(f"{name} is missing")
        return files


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, its files checked. Make one with `Bundle.open`."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> "Bundle":
        """Read the manifest and check the files it lists.

        Sizes of all files; sha256 of those below `HASHED_ON_OPEN`.

        Raises:
            BundleError: missing, half-written, changed, or of a newer schema.
        """
        folder = Path(path)
        bundle = cls(folder, _read_manifest(folder))
        bundle._check(limit=HASHED_ON_OPEN)
        return bundle

    def verify(self) -> None:
        """Check the sha256 of every file. Raises BundleError naming the first that differs."""
        self._check(limit=None)

    @property
    def router(self) -> Path:
        """The router's graph."""
        return self.path / ROUTER

    @property
    def restorer(self) -> Path:
        """The restoration network's graph."""
        return self.path / RESTORER

    def restorer_for(self, runtime: str) -> Path | None:
        """The restorer's graph in one runtime's own form, gates bound; None if it has none."""
        name = bound_restorer(runtime)
        return self.path / name if name in self.manifest.files else None

    def tiles_for(self, runtime: str) -> Path | None:
        """The same for tiles, gates an input; None if the bundle has none."""
        name = tiled_restorer(runtime)
        return self.path / name if name in self.manifest.files else None

    def content(self, graph: Path) -> str:
        """What a restorer's graph and its weights hold, for caches: their hashes."""
        hashes = (self.manifest.files[name].sha256 for name in (graph.name, f"{RESTORER}.data"))
        return " ".join(hashes)

    @property
    def weights_size(self) -> int:
        """Bytes of the restorer's weights."""
        info = self.manifest.files.get(f"{RESTORER}.data")
        return info.size if info is not None else 0

    def _check(self, limit: int | None) -> None:
        listed = self.manifest.files
        for name in _visible_files(self.path):
            if name not in listed and name != MANIFEST and not name.startswith(f"{ENGINES}/"):
                # A graph could load it, and nothing would have checked it.
                raise _damaged(self.path, "only files that the manifest lists", name)
        for name, info in listed.items():
            file = self.path / name
            try:
                size = file.stat().st_size
            except OSError:
                raise _damaged(self.path, f"a file {name}", "none") from None
            if size != info.size:
                raise _damaged(self.path, f"{name} of {info.size} bytes", f"{size} bytes")
            if (limit is None or size < limit) and sha256(file) != info.sha256:
                raise _damaged(self.path, f"{name} as it was built", "other content")


def bound_restorer(runtime: str) -> str:
    """The file name of the restorer's graph in one runtime's own form."""
    return f"restorer.{runtime}.onnx"


def tiled_restorer(runtime: str) -> str:
    """The file name of the restorer's graph for tiles in one runtime's own form."""
    return f"restorer.{runtime}.tiled.onnx"


def list_files(folder: Path) -> dict[str, FileInfo]:
    """Size and hash of every file in the folder but the manifest, by relative path."""
    return {
        name: FileInfo(sha256=sha256(folder / name), size=(folder / name).stat().st_size)
        for name in _visible_files(folder)
        if name != MANIFEST
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` with its digest, the last file of a bundle."""
    content = manifest.model_dump(mode="json")
    content["digest"] = content_digest(content)
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def content_digest(content: dict[str, Any]) -> str:
    """sha256 of a manifest's content without `digest`: compact JSON with sorted keys."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _visible_files(folder: Path) -> list[str]:
    """Relative paths of all files; hidden ones (.DS_Store) belong to the system."""
    files = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
    return [f.as_posix() for f in files if not any(part.startswith(".") for part in f.parts)]


def is_bundle(path: Path) -> bool:
    """Whether the folder has a manifest; it may still be damaged."""
    return (path / MANIFEST).is_file()


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise BundleError(
            f"no bundle at {folder}",
            wanted=f"a folder with {MANIFEST}",
            found="a file" if folder.exists() else "nothing",
            hint="make one with `lorair-export build`, or name it with --bundle",
        )
    if not is_bundle(folder):
        raise _damaged(folder, MANIFEST, "none")
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise _damaged(folder, f"JSON in {MANIFEST}", str(error)) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"cannot read bundle {folder}",
            wanted=f"schema version {SCHEMA_VERSION} or older",
            found=f"{version}",
            hint="upgrade lorair, or build the bundle again with this version",
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "the top level"
        raise _damaged(
            folder, f"a manifest as in docs/bundle.md at {place}", first["msg"]
        ) from None
    if manifest.digest != content_digest(content):
        raise _damaged(folder, f"{MANIFEST} as it was built", "other content")
    return manifest


def _damaged(folder: Path, wanted: str, found: str) -> BundleError:
    return BundleError(
        f"damaged bundle {folder}",
        wanted=wanted,
        found=found,
        hint="build it again with `lorair-export build`",
    )
