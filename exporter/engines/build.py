"""Graphs to engines of TensorRT-RTX or TensorRT, beside the graphs in `BUNDLE/engines/`.

TensorRT-RTX builds on any machine and for several GPUs at once; TensorRT builds on the GPU
that is to run the engine, and for no other. Both take the same graphs: bodies for compilers
with good reductions of their own written out, precision in the types. With top_k 1 a picture
gets one expert, so the restorer becomes an engine of constant weights for each of them; an
engine with the gates as an input serves any route.
"""

import hashlib
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lorair.exporter.engines import AUTO, TIMEOUT
from lorair.exporter.engines.library import checked_sms, choose, device, load
from lorair.exporter.engines.locked import Built, one_at_a_time
from lorair.exporter.engines.plugin import build_plugin, kernels_of
from lorair.exporter.engines.process import run_worker
from lorair.exporter.engines.sizes import Sizes
from lorair.exporter.engines.worker import Job
from lorair.exporter.graphs.inlined import give_batch, inlined
from lorair.exporter.graphs.merged import merged
from lorair.kernels.onnx_functions import Target, bodies
from lorair.runtime.bundle.engines import (
    GRAPHS,
    Depends,
    EngineRecord,
    Flavour,
    engine_path,
    read_engines,
)
from lorair.runtime.bundle.files import ENGINES, sha256
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError, OptionError
from lorair.runtime.routing.gates import one_expert
from lorair.runtime.system import console
from lorair.runtime.system.atomic import atomic_file, check_writable_file

_TARGET: Final[Target] = "reduce"

Routes = Literal["each", "any"]
"""Of the restorer's engines: one for each expert alone, or one for all mixtures."""

BuiltEngine = Built[EngineRecord]

_RECIPE: Final = 3
"""Raise it with every change in how engines are built, so that none is taken for another."""


def build_engines(
    bundle: Bundle,
    *,
    flavour: str = AUTO,
    sizes: Sizes | None = None,
    sms: tuple[int, ...] = (),
    routes: Routes | None = None,
    plugin: bool = False,
    timing_cache: Path | None = None,
    timeout: float = TIMEOUT,
) -> list[BuiltEngine]:
    """Build the engines of both branches; those that are there already are left alone.

    Args:
        bundle: that they are added to.
        flavour: `tensorrt`, `tensorrt-rtx`, or `auto` for what is installed.
        sizes: of pictures or tiles that the engines take; None for the default.
        sms: compute capabilities (86 is 8.6), TensorRT-RTX only; empty for its own choice.
        routes: that the restorer's engines serve; None for each expert where a picture gets
            one (top_k 1), else for any.
        plugin: whether the restorer's engine launches the bundle's compiled kernels,
            TensorRT only, for any route.
        timing_cache: a file of timings, read if it is there and written, TensorRT only.
        timeout: of each build, in seconds.

    Raises:
        DependencyError: the library is not installed.
        OptionError: options that cannot be.
        BundleError: the bundle cannot become engines.
        EngineError: the library failed, or the precision is not the bundle's.
    """
    chosen = choose(flavour)
    if timing_cache is not None:
        _require_tensorrt(chosen, "--timing-cache", "it times nothing at the build")
        check_writable_file(timing_cache)
    wanted = dependencies(bundle, chosen, sizes or Sizes(), sms, routes=routes, plugin=plugin)
    library = _plugin(bundle, wanted[0].version) if plugin else None
    with one_at_a_time(bundle.path / ENGINES):
        return [_ensure(bundle, depends, timeout, timing_cache, library) for depends in wanted]


def dependencies(
    bundle: Bundle,
    flavour: Flavour,
    sizes: Sizes,
    sms: tuple[int, ...],
    *,
    routes: Routes | None = None,
    plugin: bool = False,
) -> list[Depends]:
    """Return what the engines of both branches depend on, the router's first.

    Raises:
        OptionError: sizes, compute capabilities or plugins that cannot be.
        BundleError: its router is quantized, or it has no kernels for plugins.
        DependencyError: the library, or the GPU it needs to build, is not there.
    """
    manifest = bundle.manifest
    if manifest.router_precision is not None:
        raise BundleError(
            f"cannot build engines for {bundle.path}",
            wanted="a router in fp32 or fp16",
            found=manifest.router_precision,
            hint="an int8 router is for CPUs; build the bundle without --router-int8",
        )
    profiles = sizes.profiles(manifest.model)
    if plugin:
        _require_tensorrt(flavour, "--plugin", "it has no plugins")
    kernels = kernels_of(bundle) if plugin else None
    library = load(flavour)
    shared: dict[str, Any] = {
        "precision": manifest.precision,
        "flavour": flavour,
        "version": library.__version__,
        "recipe": _RECIPE,
        "sms": checked_sms(library, flavour, sms),
        "device": device() if flavour == "tensorrt" else None,
    }
    branches = {
        branch: Depends(
            branch=branch,
            graph=manifest.files[graph].sha256,
            weights=manifest.files[f"{graph}.data"].sha256,
            bodies=_bodies(bundle) if branch == "restorer" else None,
            profile=profiles[branch],
            kernels=kernels if branch == "restorer" else None,
            **shared,
        )
        for branch, graph in GRAPHS.items()
    }
    restorer = branches["restorer"]
    return [
        branches["router"],
        *(restorer.model_copy(update={"gates": gates}) for gates in _gates(bundle, routes, plugin)),
    ]


def _gates(bundle: Bundle, routes: Routes | None, plugin: bool) -> list[tuple[float, ...] | None]:
    """Those that engines are merged for; None stands for one with the gates as an input."""
    model = bundle.manifest.model
    if routes is None:
        routes = "each" if model.top_k == 1 and not plugin else "any"
    if routes == "any":
        return [None]
    if plugin:
        raise OptionError("--plugin", wanted="--routes any", found="--routes each")
    return [tuple(map(float, one_expert(name, model.classes))) for name in model.classes]


def _bodies(bundle: Bundle) -> str:
    functions = bodies(_TARGET, float32=bundle.manifest.precision == "fp32")
    text = b"".join(f.SerializeToString(deterministic=True) for f in functions)
    return hashlib.sha256(text).hexdigest()


def _require_tensorrt(flavour: Flavour, option: str, because: str) -> None:
    if flavour != "tensorrt":
        raise OptionError(
            option,
            wanted="TensorRT",
            found=f"{flavour}: {because}",
            hint="use --flavour tensorrt, or leave it out",
        )


def _plugin(bundle: Bundle, version: str) -> Path:
    """The library that the engine launches the bundle's kernels from."""
    return build_plugin(bundle, major=int(version.partition(".")[0])).path


def _ensure(
    bundle: Bundle,
    depends: Depends,
    timeout: float,
    timing_cache: Path | None,
    library: Path | None,
) -> BuiltEngine:
    """The engine of this name, built if it is not there or not whole."""
    path = engine_path(bundle, depends.name)
    for engine in read_engines(bundle):
        if engine.path == path and engine.record and sha256(path) == engine.record.sha256:
            return BuiltEngine(path, engine.record, fresh=False)
    bundle.verify()  # large files are not hashed on opening, and the name vouches for them
    with atomic_file(path) as partial:
        record = _build(bundle, depends, partial, timeout, timing_cache, library)
    # The record comes last: an engine without one counts as never finished.
    console.write_json(path.with_suffix(".json"), record.model_dump(mode="json"))
    return BuiltEngine(path, record, fresh=True)


def _build(
    bundle: Bundle,
    depends: Depends,
    output: Path,
    timeout: float,
    timing_cache: Path | None,
    library: Path | None,
) -> EngineRecord:
    model = bundle.path / GRAPHS[depends.branch]
    serves = depends.serves(bundle.manifest.model.classes)
    text = f"build the engine for {serves} ({depends.precision}, {depends.flavour})"
    graph, log = output.with_suffix(".onnx"), engine_path(bundle, depends.name).with_suffix(".log")
    job = Job(
        depends=depends,
        graph=graph,
        model=model,
        output=output,
        plugin=library if depends.kernels else None,
        timing_cache=timing_cache,
    )
    try:
        with console.progress(text) as report:
            graph.write_bytes(_graph(model, depends).SerializeToString())
            done = run_worker(job, log, timeout, report)
    finally:
        graph.unlink(missing_ok=True)
    return EngineRecord(
        created_by=f"lorair {console.lorair_version()}",
        depends=depends,
        sha256=sha256(output),
        size=output.stat().st_size,
        **done,
    )


def _graph(model: Path, depends: Depends) -> Any:
    if depends.gates is None:
        graph = inlined(model, _TARGET, plugin=depends.kernels is not None)
    else:
        graph = merged(model, np.array(depends.gates, np.float32))
    if depends.branch == "restorer" and depends.batch > 1:
        give_batch(graph)
    return graph
