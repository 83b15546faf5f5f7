"""Describe the machine, the software and the bundle of a measurement."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lorair.benchmarks.schema import nvml
from lorair.benchmarks.schema.parts import BundleRecord, Environment, Gpu
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.gpu.driver import examine
from lorair.runtime.system.machine import affinity, cpu_quota, processor_name, usable_cores

_PACKAGES = ("lorair", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
             "tensorrt-rtx", "torch", "triton")  # fmt: skip


def describe() -> Environment:
    """Return the machine, the system and the versions of the libraries that matter."""
    driver = examine()
    found = None if isinstance(driver, str) else driver
    return Environment(
        cpu=processor_name(),
        cores=usable_cores(),
        affinity=tuple(sorted(affinity())) or None,
        cpu_quota=cpu_quota(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        python=platform.python_version(),
        versions={name: installed for name in _PACKAGES if (installed := _version(name))},
        gpus=tuple(Gpu(name=g.name, sm=g.sm, memory=g.memory) for g in found.gpus) if found else (),
        gpu_driver=nvml.driver_version(),
        cuda=found.cuda if found else None,
    )


def describe_bundle(bundle: Bundle, label: str) -> BundleRecord:
    """Return what identifies a bundle."""
    manifest = bundle.manifest
    model = manifest.model
    return BundleRecord(
        label=label,
        digest=manifest.digest,
        precision=manifest.precisions,
        source=manifest.source.detail,
        model={"experts": model.experts, "top_k": model.top_k, "classes": ", ".join(model.classes)},
    )


def command_line() -> tuple[str, ...]:
    """Return the arguments of this process, with the script's name without its folder."""
    return (Path(sys.argv[0]).name, *sys.argv[1:])


def now() -> str:
    """Return the date and time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
