"""The sizes that a bundle's graphs must have by its manifest.

A graph that is not the manifest's would give a wrong picture, not an error.
"""

from pathlib import Path

from lorair.runtime.bundle.manifest import ModelInfo
from lorair.runtime.errors import BundleError

Shapes = dict[str, list[int | str]]
"""By input or output; what is free has a name, such as `16*h`."""


def router_shapes(model: ModelInfo) -> Shapes:
    """Of `router.onnx`."""
    side = model.clip_side
    return {
        "views": ["batch", 5, 3, side, side],
        "logits": ["batch", model.experts],
        "prior": ["batch", model.prior],
        "gates": ["batch", model.experts],
    }


def restorer_shapes(model: ModelInfo, *, bound: bool) -> Shapes:
    """Of the restorer's graph; a bound one takes no gates."""
    picture: list[int | str] = [1, 3, f"{model.stride}*h", f"{model.stride}*w"]
    shapes: Shapes = {"image": picture, "prior": [1, model.prior], "restored": picture}
    return shapes if bound else {**shapes, "gates": [model.experts]}


def tiled_shapes(model: ModelInfo, found: Shapes) -> Shapes:
    """Of a graph for tiles; how many means the network has, only the graph says."""
    means = found.get("pooled", [1, 0, 1, 1])
    corners: Shapes = {"own_start": [2], "own_end": [2], "has_means": []}
    return {**restorer_shapes(model, bound=False), **corners, "means": means, "pooled": means}


def check_shapes(graph: Path, found: Shapes, wanted: Shapes) -> None:
    """Raise BundleError unless they are equal."""
    if found != wanted:
        raise BundleError(
            f"{graph} is not what the manifest says",
            wanted=str(wanted),
            found=str(found),
            hint="build the bundle again with `lorair-export build`",
        )
