"""Engines in a bundle as the exporter writes them, for `fake_tensorrt`."""

import hashlib
from pathlib import Path
from typing import Any

from lorair.runtime.bundle.engines import GRAPHS, Depends, EngineRecord, Proof, Range
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.bundle.plugins import PluginDepends, PluginRecord, plugin_path

VERSION = "1.7.1"
WEIGHTS = 1 << 18


def depends_on(bundle: Bundle, branch: Any, most: int = 96, **changes: Any) -> Depends:
    """What an engine of the branch depends on; `most` is the largest side of its pictures."""
    files, graph = bundle.manifest.files, GRAPHS[branch]
    shapes = {"views": Range(min=(1, 5, 3, 56, 56), opt=(1, 5, 3, 56, 56), max=(1, 5, 3, 56, 56))}
    if branch == "restorer":
        least = (1, 3, 16, 16)
        shapes = {"image": Range(min=least, opt=least, max=(1, 3, most, most))}
    values: dict[str, Any] = {
        "branch": branch,
        "graph": files[graph].sha256,
        "weights": files[f"{graph}.data"].sha256,
        "bodies": None,
        "precision": "fp32",
        "flavour": "tensorrt-rtx",
        "version": VERSION,
        "recipe": 1,
        "profile": shapes,
    }
    return Depends(**values | changes)


def add_engine(
    bundle: Bundle,
    branch: Any,
    most: int = 96,
    source: Path | None = None,
    inside: bool = False,
    **changes: Any,
) -> Path:
    """An engine that names the branch's graph or another one, with its record.

    inside: whether it carries its plugins, if it has any.
    """
    depends = depends_on(bundle, branch, most, **changes)
    path = bundle.path / "engines" / f"{depends.name}.engine"
    path.parent.mkdir(exist_ok=True)
    lines = [f"engine of {source or bundle.path / GRAPHS[branch]}"]
    lines.append(f"plugins of {depends.kernels}{' inside' * inside}" if depends.kernels else "")
    content = "\n".join([*lines, ""]).encode() + bytes(WEIGHTS)
    path.write_bytes(content)
    record = EngineRecord(
        created_by="lorair",
        depends=depends,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        seconds=1.0,
        peak_memory=None,
        proof=Proof(source="a test", products=()),
    )
    path.with_suffix(".json").write_text(record.model_dump_json())
    return path


def add_plugin(bundle: Bundle, kernels: str, major: int = 10) -> Path:
    """A library of plugins that names its kernels, with its record."""
    path = plugin_path(bundle, major)
    path.parent.mkdir(exist_ok=True)
    path.write_text(kernels)
    record = PluginRecord(
        created_by="lorair",
        depends=PluginDepends(kernels=kernels, source="0" * 64, headers=f"{major}.0.0", sms=(89,)),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size=path.stat().st_size,
    )
    path.with_suffix(".json").write_text(record.model_dump_json())
    return path
