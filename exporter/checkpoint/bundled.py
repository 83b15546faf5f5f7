"""The networks of a bundle, read back from its graphs: parameters have their own names there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lorair.exporter.checkpoint.checkpoint import Modules, infer_restoration, infer_router
from lorair.exporter.checkpoint.pretrained import StateDict
from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.model.config import ModelConfig
from lorair.exporter.model.fold import fold
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError, CheckpointError, ConfigError

_TRANSPOSED: Final = ".T"
_INT8: Final = "_quantized"


def read_networks(bundle: Bundle) -> tuple[ModelConfig, StateDict, StateDict]:
    """Return a bundle's configuration and both networks' tensors: router, folded restorer.

    They are float32, their values those of the bundle: rounded to its precision.

    Raises BundleError: its files are damaged, or of another version.
    """
    bundle.verify()
    model = bundle.manifest.model
    router, restorer = (_parameters(graph) for graph in (bundle.router, bundle.restorer))
    try:
        config = ModelConfig(
            infer_restoration(restorer, bundle.restorer),
            infer_router(router, bundle.router),
            model.top_k,
            model.classes,
        )
        modules = modules_of(config, router, restorer)
    except (CheckpointError, ConfigError, RuntimeError) as error:
        raise BundleError(
            f"cannot read the networks of {bundle.path}",
            wanted="graphs as this version writes them",
            found=str(error).splitlines()[0],
            hint="build it again with `lorair-export build`",
        ) from error
    return config, modules.router.state_dict(), modules.restorer.state_dict()


def modules_of(config: ModelConfig, router: StateDict, restorer: StateDict) -> Modules:
    """Return both networks with these tensors, the restorer folded."""
    with torch.device("meta"):
        empty = Router(config.router, config.top_k), fold(RestorationNet(config.restoration))
    return Modules(_filled(empty[0], router), _filled(empty[1], restorer))


def _filled(module: nn.Module, tensors: Mapping[str, Tensor]) -> Any:
    own = {name: tensors[name] for name in module.state_dict() if name in tensors}
    module.load_state_dict(own, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _parameters(path: Path) -> dict[str, Tensor]:
    """Return a graph's initializers in float32 by the names of their parameters."""
    graph = onnx.load(path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = {n.input[1] for n in graph.node if n.op_type in ("MatMul", "MatMulInteger")}
    found = {}
    for name, value in values.items():
        if "/" in name:  # a constant, which is named after its node
            continue
        plain = name.removesuffix(_INT8)
        if plain != name:  # a scale a column
            value = value * values[f"{plain}_scale"]
        if name in products:  # of a linear layer, as (in, out)
            value = value.T
        found[plain.removesuffix(_TRANSPOSED)] = torch.from_numpy(value.copy()).float()
    return found
