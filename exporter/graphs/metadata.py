"""What a graph says of itself: `metadata_props`, which Netron and ONNX Runtime show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import onnx

from lorair.runtime.bundle.manifest import Manifest, Source
from lorair.runtime.system.console import lorair_version

_RELEASED: Final = "shallowdream204/LoRA-IR"
"""The hub's repository of the released weights."""


def license_of(source: Source) -> str | None:
    """Return the license of a bundle's weights; None where nobody knows it: of local files, say."""
    is_known = source.kind == "default" or source.repo == _RELEASED
    return "Apache-2.0" if is_known and not source.added else None


def facts(classes: Sequence[str], precision: str, source: Source | None = None) -> dict[str, str]:
    """Return what is to be known of a network; its license only if it is."""
    known = {"version": lorair_version(), "classes": ",".join(classes), "precision": precision}
    if source and (license := license_of(source)):
        known["license"] = license
    return known


def facts_of(bundle: Manifest) -> dict[str, str]:
    """Return those of a bundle's restorer."""
    return facts(bundle.model.classes, bundle.precision, bundle.source)


def add_facts(model: onnx.ModelProto, known: Mapping[str, str]) -> None:
    """Add to what a graph says of itself, or replace it."""
    said = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, {**said, **known})


def write_facts(graph: Path, known: Mapping[str, str]) -> None:
    """Do so in a graph's file; the weights beside it stay as they are."""
    model = onnx.load(graph, load_external_data=False)
    add_facts(model, known)
    onnx.save(model, graph)
