"""Graphs to engines of TensorRT-RTX or TensorRT, beside the graphs in `BUNDLE/engines/`.

TensorRT-RTX builds on any machine and for several GPUs at once; TensorRT builds on the GPU
that is to run the engine, and for no other. Both take the same graphs: bodies for compilers
with good reductions of their own written out, gates an input, precision in the types.
"""

import hashlib
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from lorair.exporter.config import DEFAULT_ENGINE_TIMEOUT
from lorair.exporter.engine_process import run_worker
from lorair.exporter.engine_sizes import Sizes
from lorair.exporter.engine_worker import Job
from lorair.exporter.inlined import inlined
from lorair.kernels.onnx_functions import Target, bodies
from lorair.runtime import console
from lorair.runtime.atomic import atomic_file, check_writable
from lorair.runtime.bundle import ENGINES, Bundle, sha256
from lorair.runtime.engines import (
    GRAPHS,
    Branch,
    Depends,
    EngineRecord,
    Flavour,
    Range,
    engine_path,
    read_engines,
)
from lorair.runtime.errors import BundleError, DependencyError, OptionError
from lorair.runtime.machine import is_installed

LIBRARIES: Final[dict[Flavour, str]] = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
"""The module of each flavour, `auto`'s first choice first."""

AUTO: Final = "auto"

_EXTRAS: Final[dict[Flavour, str]] = {"tensorrt-rtx": "rtx", "tensorrt": "tensorrt"}
_TARGET: Final[Target] = "reduce"
_RECIPE: Final = 1
"""Raise it with every change in how engines are built, so that none is taken for another."""


@dataclass(frozen=True)
class Built:
    """An engine that is there. fresh: whether it was built just now."""

    path: Path
    record: EngineRecord
    fresh: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        record = self.record.model_dump(mode="json")
        return {"path": str(self.path), "fresh": self.fresh, "record": record}


def build_engines(
    bundle: Bundle,
    *,
    flavour: str = AUTO,
    sizes: Sizes | None = None,
    sms: tuple[int, ...] = (),
    timeout: float = DEFAULT_ENGINE_TIMEOUT,
) -> list[Built]:
    """Build the engines of both branches; those that are there already are left alone.

    Args:
        bundle: that they are added to.
        flavour: `tensorrt`, `tensorrt-rtx`, or `auto` for what is installed.
        sizes: of pictures or tiles that the restorer's engine takes; None for the default.
        sms: compute capabilities (86 is 8.6), TensorRT-RTX only; empty for its own choice.
        timeout: of each build, in seconds.

    Raises:
        DependencyError: the library is not installed.
        OptionError: sizes or compute capabilities that cannot be.
        BundleError: the bundle cannot become engines.
        EngineError: the library failed, or the precision is not the bundle's.
    """
    wanted = dependencies(bundle, choose(flavour), sizes or Sizes(), sms)
    with _one_at_a_time(bundle):
        return [_ensure(bundle, depends, timeout) for depends in wanted]


def choose(flavour: str, option: str = "--flavour") -> Flavour:
    """The flavour that an option stands for; `auto` prefers the one that builds anywhere.

    Raises:
        OptionError: there is no such flavour.
        DependencyError: it is not installed.
    """
    if flavour not in (AUTO, *LIBRARIES):
        raise OptionError(option, wanted=f"{AUTO} or one of {', '.join(LIBRARIES)}", found=flavour)
    asked = [name for name in LIBRARIES if flavour in (AUTO, name)]
    for name in asked:
        if is_installed(LIBRARIES[name]):
            return name
    raise DependencyError(
        "cannot build engines",
        wanted=f"the package {' or '.join(asked)}",
        found="none",
        hint=f"pip install 'lorair[export,{_EXTRAS[asked[0]]}]'",
    )


def dependencies(
    bundle: Bundle, flavour: Flavour, sizes: Sizes, sms: tuple[int, ...]
) -> list[Depends]:
    """What the engines of both branches depend on.

    Raises:
        OptionError: sizes or compute capabilities that cannot be.
        BundleError: its router is quantized.
        DependencyError: the library, or the GPU it needs to build, is not there.
    """
    manifest, model = bundle.manifest, bundle.manifest.model
    if manifest.router_precision is not None:
        raise BundleError(
            f"cannot build engines for {bundle.path}",
            wanted="a router in fp32 or fp16",
            found=manifest.router_precision,
            hint="an int8 router is for CPUs; build the bundle without --router-int8",
        )
    views = (1, 5, 3, model.clip_side, model.clip_side)
    profiles: dict[Branch, dict[str, Range]] = {
        "router": {"views": Range(min=views, opt=views, max=views)},
        "restorer": {"image": sizes.range(model.stride)},
    }
    library = _load(flavour)
    return [
        Depends(
            branch=branch,
            graph=manifest.files[graph].sha256,
            weights=manifest.files[f"{graph}.data"].sha256,
            bodies=_bodies(bundle) if branch == "restorer" else None,
            precision=manifest.precision,
            flavour=flavour,
            version=library.__version__,
            recipe=_RECIPE,
            sms=_checked_sms(library, flavour, sms),
            device=_device() if flavour == "tensorrt" else None,
            profile=profiles[branch],
        )
        for branch, graph in GRAPHS.items()
    ]


def _load(flavour: Flavour) -> Any:
    try:
        return import_module(LIBRARIES[flavour])
    except (ImportError, OSError) as error:  # installed, but some of its libraries are not
        raise DependencyError(
            "cannot build engines",
            wanted=f"the package {flavour}",
            found=str(error),
            hint=f"pip install 'lorair[export,{_EXTRAS[flavour]}]'",
        ) from error


def _bodies(bundle: Bundle) -> str:
    functions = bodies(_TARGET, float32=bundle.manifest.precision == "fp32")
    text = b"".join(f.SerializeToString(deterministic=True) for f in functions)
    return hashlib.sha256(text).hexdigest()


def _checked_sms(library: Any, flavour: Flavour, sms: tuple[int, ...]) -> tuple[int, ...]:
    if not sms:
        return ()
    if flavour == "tensorrt":
        raise OptionError(
            "--sm",
            wanted="nothing: TensorRT builds for the GPU that it runs on",
            found=" ".join(map(str, sms)),
            hint="build on that GPU, or use --flavour tensorrt-rtx",
        )
    members = library.ComputeCapability.__members__
    known = sorted(int(name[2:]) for name in members if name.startswith("SM"))
    for sm in sms:
        if sm not in known:
            raise OptionError("--sm", wanted=f"one of {', '.join(map(str, known))}", found=str(sm))
    return tuple(sorted(set(sms)))


def _device() -> str:
    """The GPU and system that TensorRT builds on and for."""
    try:
        from cuda.core import Device

        device = Device()
        major, minor = device.compute_capability
    except Exception as error:  # cuda-core and the driver have many ways to say no
        raise DependencyError(
            "cannot build a TensorRT engine",
            wanted="the GPU that is to run it, its driver and the package cuda-core",
            found=f"{type(error).__name__}: {error}",
            hint="TensorRT-RTX needs no GPU to build: --flavour tensorrt-rtx",
        ) from error
    system = f"{platform.system()} {platform.machine()}"
    return f"{device.name}, compute capability {major}.{minor}, {system}"


@contextmanager
def _one_at_a_time(bundle: Bundle) -> Iterator[None]:
    """Of two builds into one bundle the second waits; a killed one's remains are removed."""
    folder = bundle.path / ENGINES
    check_writable(folder / "any")
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.note(f"another build is at work in {folder}; waiting for it")
        lock.acquire()
    try:
        for remains in folder.glob(".*.partial.*"):
            remains.unlink()
        yield
    finally:
        lock.release()


def _ensure(bundle: Bundle, depends: Depends, timeout: float) -> Built:
    """The engine of this name, built if it is not there or not whole."""
    path = engine_path(bundle, depends.name)
    for engine in read_engines(bundle):
        if engine.path == path and engine.record and sha256(path) == engine.record.sha256:
            return Built(path, engine.record, fresh=False)
    bundle.verify()  # large files are not hashed on opening, and the name vouches for them
    with atomic_file(path) as partial:
        record = _build(bundle, depends, partial, timeout)
    # The record comes last: an engine without one counts as never finished.
    console.write_json(path.with_suffix(".json"), record.model_dump(mode="json"))
    return Built(path, record, fresh=True)


def _build(bundle: Bundle, depends: Depends, output: Path, timeout: float) -> EngineRecord:
    model = bundle.path / GRAPHS[depends.branch]
    text = f"build the {depends.branch}'s engine ({depends.precision}, {depends.flavour})"
    with tempfile.TemporaryDirectory(prefix="lorair-") as folder, console.progress(text) as report:
        graph = Path(folder) / "graph.onnx"
        graph.write_bytes(inlined(model, _TARGET).SerializeToString())
        job = Job(
            library=LIBRARIES[depends.flavour],
            graph=str(graph),
            model=str(model),
            output=str(output),
            depends=depends.model_dump(mode="json"),
        )
        done = run_worker(job, timeout, report)
    return EngineRecord(
        created_by=f"lorair {console.lorair_version()}",
        depends=depends,
        sha256=sha256(output),
        size=output.stat().st_size,
        **done,
    )
