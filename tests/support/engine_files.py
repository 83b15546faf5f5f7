"""Engines in a bundle as the exporter writes them, for `fake_tensorrt`."""

import hashlib
from pathlib import Path
from typing import Any

from lorair.runtime.bundle.engines import GRAPHS, Depends, EngineRecord, Proof, Range
from lorair.runtime.bundle.manifest import Bundle

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
    bundle: Bundle, branch: Any, most: int = 96, source: Path | None = None, **changes: Any
) -> Path:
    """An engine that names the branch's graph or another one, with its record."""
    depends = depends_on(bundle, branch, most, **changes)
    path = bundle.path / "engines" / f"{depends.name}.engine"
    path.parent.mkdir(exist_ok=True)
    content = f"engine of {source or bundle.path / GRAPHS[branch]}\n".encode() + bytes(WEIGHTS)
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
