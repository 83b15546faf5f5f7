"""One route, one graph: the restorer merged for other programs to run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from lorair.exporter.graphs.merged import clamp, merged, name_ends, take_any_size
from lorair.exporter.graphs.metadata import add_facts, facts, facts_of
from lorair.runtime.bundle.manifest import RESTORER, Bundle
from lorair.runtime.pixels import Array
from lorair.runtime.system.atomic import atomic_file
from lorair.runtime.system.console import lorair_version


@dataclass(frozen=True)
class Experts:
    """A restorer's general graph, and what has to be known of it.

    graph: its weights lie beside it. classes: its experts. stride: sides of pictures are
    multiples of it. known: for the merged graph's metadata.
    """

    graph: Path
    classes: tuple[str, ...]
    stride: int
    known: dict[str, str]


def experts_of(bundle: Bundle) -> Experts:
    """Return a bundle's restorer, all its files checked."""
    bundle.verify()
    model = bundle.manifest.model
    return Experts(bundle.restorer, model.classes, model.stride, facts_of(bundle.manifest))


@contextmanager
def experts_of_checkpoint(
    path: Path, classes: tuple[str, ...] | None = None, *, fp16: bool = False
) -> Iterator[Experts]:
    """Export the restorer of a checkpoint into a folder that is gone afterwards.

    Args:
        path: the restoration network's weights.
        classes: a name for each expert; None for Setting I's or plain numbers.
        fp16: whether weights and activations are float16.

    Raises:
        CheckpointError: it is missing, damaged, unsafe or not this network's.
        OptionError: another number of classes than experts.
    """
    from lorair.exporter.checkpoint.checkpoint import class_names, load_restorer
    from lorair.exporter.graphs.onnx_export import export_restorer
    from lorair.exporter.model.fold import fold

    config, net = load_restorer(path)
    classes = class_names(config, classes)
    with TemporaryDirectory() as folder:
        net = fold(net)
        graph = Path(folder) / RESTORER
        export_restorer(net.half() if fp16 else net, config, graph)
        yield Experts(graph, classes, config.stride, facts(classes, "fp16" if fp16 else "fp32"))


def merge(
    experts: Experts,
    gates: Array,
    output: Path,
    *,
    prior: Array | None = None,
    any_size: bool = False,
    clamped: bool = True,
) -> onnx.ModelProto:
    """Write one graph for one route, weights inside, and return it.

    Args:
        experts: the restorer.
        gates: (E,) float32.
        output: the ONNX file.
        prior: (P,) float32, for a graph from `input` to `output` alone, the names that programs
            for such graphs look for; None for a graph from `image` and `prior` to `restored`.
        any_size: whether it pads and crops pictures itself; else their sides are multiples
            of the stride.
        clamped: whether its result is kept within [0, 1].

    Raises:
        OutputError: the file cannot be written.
    """
    model = merged(experts.graph, gates, prior=prior)
    if prior is not None:
        name_ends(model.graph, "input", "output")
    if any_size:
        take_any_size(model.graph, experts.stride)
    if clamped:
        clamp(model.graph)
    model.producer_name, model.producer_version = "lorair", lorair_version()
    shares = zip(experts.classes, map(float, gates), strict=True)
    gates_of = ",".join(f"{name}={share:g}" for name, share in shares if share)
    add_facts(model, {**experts.known, "gates": gates_of})
    with atomic_file(output) as partial:
        onnx.save(model, partial)
    return model
