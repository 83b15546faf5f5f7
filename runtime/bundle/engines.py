"""Engines in a bundle: what TensorRT or TensorRT-RTX made of its graphs, and for whom.

`engines/NAME.engine` is what the library wrote, `engines/NAME.json` its record. NAME holds a
digest of all that the engine depends on, so an engine is never stale: what has changed has
another name. The manifest does not list engines (they are added later, and by several
machines); the record does what the manifest does for other files. It is written last, so an
engine without one was not finished. Nothing here needs TensorRT.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from lorair.runtime.bundle.files import ENGINES, Sha256, Size, Stored, read_json, regular_size
from lorair.runtime.bundle.kernels import Sm
from lorair.runtime.bundle.manifest import RESTORER, ROUTER, Bundle, Precision, content_digest
from lorair.runtime.errors import BundleError

Branch = Literal["router", "restorer"]
Flavour = Literal["tensorrt", "tensorrt-rtx"]
ProductKind = Literal["convolution", "deconvolution", "matrix product", "einsum", "fused operator"]

GRAPHS: Final[dict[Branch, str]] = {"router": ROUTER, "restorer": RESTORER}
"""The file that each branch's engines are made from."""

_Shape = Annotated[tuple[Annotated[int, Field(ge=1, lt=2**31)], ...], Field(max_length=8)]


class Range(Stored):
    """An input's shapes: the least and the largest that run, and the one tuned for."""

    min: _Shape
    opt: _Shape
    max: _Shape


class Depends(Stored):
    """All that an engine depends on; its name is a digest of this.

    graph, weights: sha256 of the bundle's files. bodies: sha256 of the operators' bodies
    that were written out; None where there are none. recipe: counts the changes in how
    engines are built. sms: compute capabilities that it is for (86 is 8.6); empty for the
    library's own choice. device: the GPU and system that it was built on and for; None if
    for any. profile: of each input with a dynamic shape. kernels: sha256 of the index of the
    compiled kernels that its plugins launch (`plugins.py`); None where it has none. gates:
    (E,), those that are merged into its weights; None where they are an input, or it is the
    router's.
    """

    branch: Branch
    graph: Sha256
    weights: Sha256
    bodies: Sha256 | None
    precision: Precision
    flavour: Flavour
    version: str
    recipe: int
    sms: tuple[Sm, ...] = ()
    device: str | None = None
    profile: dict[str, Range]
    kernels: Sha256 | None = None
    gates: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        """Of the engine's files, without ending."""
        return f"{self.branch}-{content_digest(self.model_dump(mode='json'))[:32]}"

    @property
    def batch(self) -> int:
        """The most pictures that it takes at once."""
        return max((shapes.max[0] for shapes in self.profile.values()), default=1)

    @property
    def needs(self) -> str:
        """What it takes to run the engine, for people."""
        sms = " or ".join(f"{sm // 10}.{sm % 10}" for sm in self.sms)
        where = self.device or (
            f"compute capability {sms}" if sms else "any RTX card from Ampere on"
        )
        plugins = ", the bundle's kernels" if self.kernels else ""
        return f"{self.flavour} {self.version}{plugins}, {where}; {', '.join(self._shapes())}"

    def serves(self, classes: tuple[str, ...]) -> str:
        """Return which pictures' networks it is, for people: `rain`, `any route`, `router`."""
        if self.branch == "router":
            return "router"
        if self.gates is None:
            return "any route"
        shares = [(name, g) for name, g in zip(classes, self.gates, strict=False) if g]
        is_one = len(shares) == 1
        return ",".join(name if is_one else f"{name}={share:g}" for name, share in shares)

    def _shapes(self) -> Iterator[str]:
        for name, shapes in self.profile.items():
            ends = ("x".join(map(str, shape)) for shape in (shapes.min, shapes.max))
            yield f"{name} {' to '.join(dict.fromkeys(ends))}"


class Product(Stored):
    """A convolution, matrix product or fused operator of the network that an engine was built from.

    role: `picture` if the picture runs through it; `merging` if it only merges experts;
    `head` for the router's extractor and head. The last two are float32 by design.
    """

    name: str
    kind: ProductKind
    types: tuple[str, ...]
    role: Literal["picture", "merging", "head"]


class Proof(Stored):
    """The types that the network prescribes; a strongly typed engine computes in them."""

    source: str
    products: tuple[Product, ...]

    def summary(self) -> str:
        """For people: how many products have which types, by role."""
        counts: Counter[str] = Counter()
        for product in self.products:
            counts[f"{'/'.join(sorted(set(product.types)))} ({product.role})"] += 1
        return ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


class EngineRecord(Stored):
    """`NAME.json`.

    sha256, size: of the engine. seconds, peak_memory: of its build; memory in bytes.
    """

    created_by: str
    depends: Depends
    sha256: Sha256
    size: Size
    seconds: float
    peak_memory: int | None
    proof: Proof


@dataclass(frozen=True)
class Engine:
    """An engine file, and its record or what is wrong with it; one of the two is there."""

    path: Path
    record: EngineRecord | None = None
    error: BundleError | None = None

    def read(self) -> bytes:
        """The engine, its content checked.

        Raises BundleError: it is damaged or not this bundle's.
        """
        if self.record is None:
            raise self.error or _unusable(self.path, "a record", "none")
        content = self.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.record.sha256:
            raise _unusable(self.path, "the engine as it was built", "other content")
        return content


def read_engines(bundle: Bundle) -> list[Engine]:
    """Every engine in a bundle, by name.

    Cheap: records and sizes are checked here, contents by `Engine.read`.

    Returns:
        damaged engines too, and those of another bundle; they have an `error`.
    """
    folder = bundle.path / ENGINES
    files = {p for p in folder.glob("*") if p.suffix in {".engine", ".json"}}
    names = {p.stem for p in files if not p.name.startswith(".")}
    return [_engine(bundle, engine_path(bundle, name)) for name in sorted(names)]


def engine_path(bundle: Bundle, name: str) -> Path:
    """Where the engine of this name lies or would lie; its record is the `.json` beside it."""
    return bundle.path / ENGINES / f"{name}.engine"


def _engine(bundle: Bundle, path: Path) -> Engine:
    try:
        return Engine(path, _checked(bundle, path, _read_record(path)))
    except BundleError as error:
        return Engine(path, error=error)


def _read_record(path: Path) -> EngineRecord:
    try:
        return EngineRecord.model_validate(read_json(path.with_suffix(".json")))
    except FileNotFoundError:
        raise _unusable(path, "a record beside it", "none, so it was never finished") from None
    except (ValidationError, ValueError, OSError, RecursionError) as error:
        raise _unusable(path, "a record as in docs/tensorrt.md", str(error)[:80]) from None


def _checked(bundle: Bundle, path: Path, record: EngineRecord) -> EngineRecord:
    depends, files = record.depends, bundle.manifest.files
    if depends.name != path.stem:
        raise _unusable(path, "the name that its record makes", depends.name)
    graph = GRAPHS[depends.branch]
    for name, found in ((graph, depends.graph), (f"{graph}.data", depends.weights)):
        if name not in files or files[name].sha256 != found:
            raise _unusable(path, f"one made from this bundle's {name}", "another bundle's")
    size = regular_size(path)
    if size is None:
        raise _unusable(path, "the engine that its record describes", "none")
    if size != record.size:
        raise _unusable(path, f"{record.size} bytes", f"{size} bytes")
    return record


def _unusable(path: Path, wanted: str, found: str) -> BundleError:
    return BundleError(
        f"cannot use the engine {path}",
        wanted=wanted,
        found=found,
        hint="build it again with `lorair-export engine`",
    )


def has_engines(bundle: Bundle, flavour: Flavour) -> bool:
    """Whether the bundle was given engines of a flavour, whatever they are for."""
    records = (engine.record for engine in read_engines(bundle))
    return any(record is not None and record.depends.flavour == flavour for record in records)
