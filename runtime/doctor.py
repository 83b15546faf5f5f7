"""What can run on this machine, and what is missing for the rest."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lorair.runtime import cache
from lorair.runtime.backends import BACKENDS, BackendKind, choose
from lorair.runtime.bundle import Bundle
from lorair.runtime.console import lorair_version
from lorair.runtime.errors import DependencyError
from lorair.runtime.machine import default_threads, processor_name, usable_cores


def examine(bundle: Path | None = None) -> dict[str, Any]:
    """All of it as plain values.

    Args:
        bundle: to say what would run it; None for any fp32 bundle.

    Returns:
        lorair; machine (cpu, cores, threads, system, python); cache (folder, bytes);
        backends (name, version, lacks, install: the command if the package is missing);
        auto: what `--backend auto` picks and why, as a sentence.

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
        "cache": {
            "folder": None if root is None else str(root),
            "bytes": cache.size(root) if root is not None and root.is_dir() else 0,
        },
        "backends": [_backend(kind) for kind in BACKENDS.values()],
        "auto": _auto(opened),
    }


def _backend(kind: BackendKind) -> dict[str, str | None]:
    try:
        installed = version(kind.package)
    except PackageNotFoundError:
        installed = None
    return {
        "name": kind.name,
        "version": installed,
        "lacks": kind.missing(),
        "install": kind.install_command if installed is None else None,
    }


def _auto(bundle: Bundle | None) -> str:
    """Without a bundle, for one that is float32 and complete."""
    if bundle is None:
        usable = [k for k in BACKENDS.values() if "fp32" in k.precisions and k.missing() is None]
        if not usable:
            return f"nothing can run a bundle; {BACKENDS['onnxruntime'].install_command}"
        return f"--backend auto is {usable[0].name}: the fastest that keeps an fp32 bundle exact"
    try:
        kind = choose(bundle).kind
    except DependencyError as error:
        return error.line()
    precision = bundle.manifest.precision
    return f"--backend auto is {kind.name}: the fastest here that an {precision} bundle allows"
