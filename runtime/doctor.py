"""What can run on this machine, and what is missing for the rest."""

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from lorair.runtime.backends import BACKENDS, BackendKind, choose, webgpu
from lorair.runtime.backends.tuned import order
from lorair.runtime.bundle.engines import Engine, read_engines
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import DependencyError
from lorair.runtime.gpu import driver
from lorair.runtime.gpu.engine_fit import misfit_here
from lorair.runtime.system import cache
from lorair.runtime.system.console import lorair_version
from lorair.runtime.system.machine import default_threads, processor_name, usable_cores

_DRIVER: Final = {
    driver.NO_DRIVER: "with a GPU: install NVIDIA's driver",
    webgpu.NO_GPU: "on Linux: the GPU's Vulkan driver and libvulkan.so.1",
    driver.NO_GPU: "in a container: start it with --gpus all",
}


def examine(bundle: Path | None = None) -> dict[str, Any]:
    """All of it as plain values.

    Args:
        bundle: to say what would run it; None for any fp32 bundle.

    Returns:
        lorair; machine (cpu, cores, threads, system, python); gpu (driver: the newest CUDA
        that it serves, None without one; lacks: why no GPU can be used, or None; gpus, each
        with name, sm, memory in bytes); cache (folder, bytes); backends (name, version,
        about: what it runs on, where that is not told above, lacks, and fix: what to do about
        it); engines of the bundle (file, branch, serves: which route, needs, lacks: what
        differs here), None without a bundle; auto: what `--backend auto` picks and why, as a
        sentence.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    opened = None if bundle is None else Bundle.open(bundle)
    root = cache.folder()
    return {
        "lorair": lorair_version(),
        "machine": {
            "cpu": processor_name(),
            "cores": usable_cores(),
            "threads": default_threads(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "gpu": _gpu(),
        "cache": {
            "folder": None if root is None else str(root),
            "bytes": cache.size(root) if root is not None and root.is_dir() else 0,
        },
        "backends": [_backend(kind, opened) for kind in BACKENDS.values()],
        "engines": None if opened is None else [_engine(e, opened) for e in read_engines(opened)],
        "auto": _auto(opened),
    }


def _gpu() -> dict[str, Any]:
    found = driver.examine()
    if isinstance(found, str):
        return {"driver": None, "lacks": found, "gpus": []}
    gpus = [asdict(gpu) for gpu in found.gpus]
    return {"driver": found.cuda, "lacks": driver.missing_gpu(), "gpus": gpus}


def _backend(kind: BackendKind, bundle: Bundle | None) -> dict[str, str | None]:
    lacks, fix = kind.missing(), None
    if lacks is None and bundle is not None:
        lacks = kind.unfit(bundle)  # which says what to do itself
    elif lacks is not None:
        fix = kind.install_command if "not installed" in lacks else _DRIVER.get(lacks)
    return {
        "name": kind.name,
        "version": kind.version,
        "about": kind.about(),
        "lacks": lacks,
        "fix": fix,
    }


def _engine(engine: Engine, bundle: Bundle) -> dict[str, str | None]:
    unknown = dict.fromkeys(("branch", "serves", "needs"))
    if engine.record is None:
        return {"file": engine.path.name, **unknown, "lacks": str(engine.error)}
    depends = engine.record.depends
    return {
        "file": engine.path.name,
        "branch": depends.branch,
        "serves": depends.serves(bundle.manifest.model.classes),
        "needs": depends.needs,
        "lacks": misfit_here(depends),
    }


def _auto(bundle: Bundle | None) -> str:
    """Without a bundle, for one that is float32 and complete."""
    if bundle is None:
        usable = [kind for kind in BACKENDS.values() if _is_usable(kind)]
        if not usable:
            return f"nothing can run a bundle; {BACKENDS['onnxruntime'].install_command}"
        return f"--backend auto is {usable[0].name}: the fastest that keeps an fp32 bundle exact"
    try:
        kind = choose(bundle)
    except DependencyError as error:
        return error.line()
    precision = bundle.manifest.precision
    measured = ", as `lorair-run tune` has measured" * bool(order(bundle, BACKENDS.values()))
    fastest = f"the fastest here that an {precision} bundle allows{measured}"
    return f"--backend auto is {kind.name}: {fastest}"


def _is_usable(kind: BackendKind) -> bool:
    return "fp32" in kind.precisions and kind.missing() is None and kind.is_faster()
