"""The bundle: what is deployed. Its format is written down in docs/bundle.md.

A folder with `manifest.json`, two graphs and their weights. The manifest is written last
and the folder renamed into place, so a bundle is whole or is not there.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from lorair.runtime.bundle import bundle_folder
from lorair.runtime.bundle.files import (
    HASHED_ON_OPEN,
    MANIFEST,
    FileInfo,
    Size,
    Stored,
    check_files,
    check_name,
    check_no_link,
    damaged,
    first_problem,
    read_json,
)
from lorair.runtime.errors import BundleError

SCHEMA_VERSION: Final = 1
ROUTER: Final = "router.onnx"
RESTORER: Final = "restorer.onnx"
KERNELS: Final = "kernels"

Precision = Literal["fp32", "fp16"]
Count = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
# Bounds far above any network's, so that a wrong number is named here and not by a full memory.
Side = Annotated[int, Field(ge=1, le=1024, strict=True)]
Length = Annotated[int, Field(ge=1, le=65536, strict=True)]
ClassName = Annotated[str, Field(min_length=1, max_length=100)]


class ModelInfo(Stored):
    """What a runtime has to know of the network.

    clip_side: side of a router's view in pixels. stride: height and width of the
    restorer's input are multiples of it. prior: length of the degradation prior.
    width: the restorer's channels at full resolution, by which its memory grows.
    unchanged: classes whose expert alone makes the network give back its input, to the bit, so
    that it need not run.
    restoration, router: the branches' full configurations, for people.
    """

    classes: tuple[ClassName, ...]
    experts: Side
    top_k: Side
    clip_side: Side
    stride: Side
    prior: Length
    width: Length = 64
    unchanged: tuple[ClassName, ...] = ()
    restoration: dict[str, Any] = Field(default_factory=dict)
    router: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> "ModelInfo":
        if len(self.classes) != self.experts:
            raise ValueError(f"{self.experts} experts but {len(self.classes)} classes")
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} of {self.experts} experts")
        if unprintable := [name for name in self.classes if not name.isprintable()]:
            raise ValueError(f"class {unprintable[0]!r} cannot be printed")
        return self


class Weights(Stored):
    """A checkpoint that the bundle was built from."""

    name: str
    sha256: str


class Source(Stored):
    """Where the weights came from; `detail` says it in one sentence.

    repo, revision: of weights from the hub, its repository and the commit.
    added: experts that came later, from other files.
    """

    kind: Literal["files", "hub", "synthetic", "default"]
    detail: str
    repo: str | None = None
    revision: str | None = None
    ir: Weights | None = None
    router: Weights | None = None
    added: tuple[ClassName, ...] = ()


class PictureParity(Stored):
    """One picture of the certificate. Errors are absolute, on float outputs before clamping."""

    name: str
    width: Count
    height: Count
    logits_error: float
    prior_error: float
    restored_error: float
    psnr_db: float
    route_changed: bool


class RouteParity(Stored):
    """The router against PyTorch float32 on photographs with and without flaws.

    compared: those of the pictures that PyTorch has routed as well, the nearest to another route;
        None for all.
    prior_cosine: the least of those, between the two priors.
    """

    pictures: Count
    compared: Count | None = None
    changes: Size
    prior_cosine: float

    def summary(self) -> str:
        """For people."""
        compared = self.compared or self.pictures
        chosen = "" if compared == self.pictures else f", the least sure of {self.pictures}"
        return (
            f"same on {compared - self.changes} of {compared} more pictures{chosen}; "
            f"prior's least cosine {self.prior_cosine:.5f}"
        )


class Certificate(Stored):
    """The parity certificate: the bundle against PyTorch float32 on real photographs.

    psnr_db: the worst picture's, of clamped outputs with peak 1; 160 stands for equal.
    routes: what a check on more pictures found, where the router is quantized.
    """

    reference: str
    backend: str
    max_error: float
    psnr_db: float
    route_changes: Size
    limits: dict[str, float]
    pictures: tuple[PictureParity, ...]
    routes: RouteParity | None = None


class Manifest(Stored):
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
            check_name(name)
        for name in (ROUTER, f"{ROUTER}.data", RESTORER, f"{RESTORER}.data"):
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

        Args:
            path: the folder, or the text `default` for the bundle that lorair brings.

        Raises:
            BundleError: missing, half-written, changed, or of a newer schema.
        """
        folder = bundle_folder(path)
        bundle = cls(folder, _read_manifest(folder))
        check_files(folder, bundle.manifest.files, HASHED_ON_OPEN)
        return bundle

    def verify(self) -> None:
        """Check the sha256 of every file. Raises BundleError naming the first that differs."""
        check_files(self.path, self.manifest.files, None)

    @property
    def router(self) -> Path:
        """The router's graph."""
        return self.path / ROUTER

    @property
    def restorer(self) -> Path:
        """The restoration network's graph."""
        return self.path / RESTORER

    def restorer_for(self, runtime: str, *, tiled: bool = False) -> Path | None:
        """Return the restorer's graph in one runtime's own form; None if the bundle has none.

        Its gates are bound; with `tiled` it is the graph for tiles, which takes them as an input.
        """
        name = restorer_name(runtime, tiled=tiled)
        return self.path / name if name in self.manifest.files else None

    def router_for(self, runtime: str) -> Path | None:
        """Return a quantized router's graph in one runtime's own form; None if there is none."""
        name = router_name(runtime)
        return self.path / name if name in self.manifest.files else None

    def content(self, graph: Path) -> str:
        """What a graph and its weights hold, for caches: their hashes."""
        weights = f"{ROUTER if graph.name.startswith('router.') else RESTORER}.data"
        hashes = (self.manifest.files[name].sha256 for name in (graph.name, weights))
        return " ".join(hashes)

    @property
    def weights_size(self) -> int:
        """Bytes of the restorer's weights."""
        return self.manifest.files[f"{RESTORER}.data"].size


def router_name(runtime: str) -> str:
    """Return the file name of a quantized router's graph in one runtime's own form."""
    return f"router.{runtime}.onnx"


def restorer_name(runtime: str, *, tiled: bool = False) -> str:
    """Return the file name of the restorer's graph in one runtime's own form."""
    return f"restorer.{runtime}{'.tiled' * tiled}.onnx"


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


def is_bundle(path: Path) -> bool:
    """Whether the folder has a manifest; it may still be damaged."""
    return (path / MANIFEST).is_file()


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise BundleError(
            f"no bundle at {folder}",
            wanted=f"a folder with {MANIFEST}",
            found="a file" if folder.exists() else "nothing",
            hint="check the path, or take lorair's own, which is called default",
        )
    if not is_bundle(folder):
        raise damaged(folder, MANIFEST, "none")
    check_no_link(folder, MANIFEST)
    try:
        content = read_json(folder / MANIFEST)
    except (ValueError, OSError, RecursionError) as error:
        raise damaged(folder, f"JSON in {MANIFEST}", str(error)) from error
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
        is_its = manifest.digest == content_digest(content)
    except RecursionError:
        raise damaged(folder, f"a flat {MANIFEST}", "a deeply nested one") from None
    except ValidationError as error:
        place, problem = first_problem(error)
        raise damaged(folder, f"a manifest as in docs/bundle.md at {place}", problem) from None
    if not is_its:
        raise damaged(folder, f"{MANIFEST} as it was built", "other content")
    return manifest
