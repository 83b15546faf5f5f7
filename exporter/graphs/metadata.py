"""What a graph says of itself: `metadata_props`, which Netron and ONNX Runtime show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import onnx

from lorair.runtime.bundle.manifest import Manifest, Source
from lorair.runtime.system.console import lorair_version

_RELEASED: Final = "shallowdream204/LoRA-IR "
"""How a source of the hub's released weights begins."""


def facts(classes: Sequence[str], precision: str, source: Source | None = None) -> dict[str, str]:
    """Return what is to be known of a network: version, classes, precision, the weights' license.

    The license is left out where nobody knows it: of local files, say.
    """
    known = {"version": lorair_version(), "classes": ",".join(classes), "precision": precision}
    if source and (source.kind == "default" or source.detail.startswith(_RELEASED)):
        known["license"] = "Apache-2.0"
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
