"""Module to ONNX: graphs whose names read like the network.

`router.onnx`    views (B, 5, 3, S, S) -> logits (B, E), prior (B, P), gates (B, E)
`restorer.onnx`  image (1, 3, H, W), prior (1, P), gates (E) -> restored (1, 3, H, W)

H and W are dynamic multiples of the network's stride. Inputs and outputs are float32 in
every precision. Weights lie beside the graph as external data.

`restorer.NAME.onnx` is the second graph once more in the form that one runtime likes best,
with the same weights file: the operators' bodies for that target written out, and the
gates an initializer that the runtime puts in before it compiles ("bound"), so that merged
weights are constants.
"""

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import onnx
import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from lorair.exporter.graphs.inlined import GATES, inlined
from lorair.exporter.model import RestorationNet, Router
from lorair.exporter.model.config import RestorationConfig, RouterConfig
from lorair.exporter.model.router import VIEWS
from lorair.kernels.onnx_functions import Target, bodies
from lorair.kernels.spec import ONNX_IR_VERSION, ONNX_OPSET

BOUND_TARGETS: Final[dict[str, Target]] = {"onnxruntime": "cpu", "openvino": "reduce"}
"""Runtimes that get a restorer of their own, and the bodies they like best."""

_SCOPES = "pkg.torch.onnx.name_scopes"


def export_router(router: Router, config: RouterConfig, path: Path) -> None:
    """Write `router.onnx`, and `router.onnx.data` beside it."""
    # Two pictures: an example of one would be taken for a constant.
    views = torch.zeros(2, VIEWS, 3, config.side, config.side)
    model = _trace(
        router, {"views": views}, ["logits", "prior", "gates"], {"views": {0: Dim("batch")}}
    )
    _write(model, path)


def export_restorer(net: RestorationNet, config: RestorationConfig, path: Path) -> None:
    """Write `restorer.onnx`, and `restorer.onnx.data` beside it."""
    inputs = {
        "image": torch.zeros(1, 3, 3 * config.stride, 4 * config.stride),
        "prior": torch.zeros(1, config.prior),
        "gates": torch.zeros(config.num_experts),
    }
    sides = {2: config.stride * Dim("h"), 3: config.stride * Dim("w")}
    model = _trace(net, inputs, ["restored"], {"image": sides, "prior": None, "gates": None})
    is_float32 = net.intro.conv.weight.dtype == torch.float32
    for body in bodies("cpu", float32=is_float32):
        function = ir.serde.deserialize_function(body)
        model.functions[function.identifier()] = function
    _write(model, path)


def write_bound(graph: Path, path: Path, target: Target) -> None:
    """Write a restorer's graph for one runtime: bodies written out, gates bound.

    Args:
        graph: of `export_restorer` or `write_tiled`.
        path: the new graph, in the same folder.
        target: of the bodies, unless they are written out already.
    """
    model = inlined(graph, target)
    places = (place for tensor in model.graph.initializer for place in tensor.external_data)
    data = next(place.value for place in places if place.key == "location")
    gates = next(value for value in model.graph.input if value.name == GATES)
    model.graph.input.remove(gates)
    model.graph.initializer.append(_placeholder(gates, data))
    onnx.save(model, path)


def _placeholder(gates: Any, data: str) -> Any:
    """An external initializer: ONNX Runtime replaces no other kind before it optimises.

    Whatever is read from the file's beginning is never used.
    """
    (experts,) = (d.dim_value for d in gates.type.tensor_type.shape.dim)
    tensor = onnx.TensorProto(
        name=GATES,
        dims=[experts],
        data_type=onnx.TensorProto.FLOAT,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in {"location": data, "offset": 0, "length": 4 * experts}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _trace(
    module: nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: list[str],
    dynamic_shapes: dict[str, Any],
) -> ir.Model:
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            kwargs=inputs,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=outputs,
            opset_version=ONNX_OPSET,
            dynamic_shapes=dynamic_shapes,
        )
    assert program is not None
    _name_by_module(program.model)
    return program.model


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter logs missing torchvision and warns of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _name_by_module(model: ir.Model) -> None:
    """Rename nodes and tensors to `module.path/Op`; drop traces of the exporting machine."""
    taken: Counter[str] = Counter()
    results = {value.name for value in model.graph.outputs}
    scopes = _scopes(model.graph)
    for node in model.graph:
        scope = scopes[node]
        name = f"{scope}/{node.op_type}" if scope else node.op_type
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for i, output in enumerate(node.outputs):
            if output.name not in results:
                output.name = node.name if i == 0 else f"{node.name}:{i}"
            output.metadata_props.clear()
        node.metadata_props.clear()
        node.doc_string = None
    _name_constants(model)
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.name = "lorair"
    model.ir_version = ONNX_IR_VERSION
    model.producer_name = "lorair"
    model.producer_version = None


def _scopes(graph: ir.Graph) -> dict[ir.Node, str]:
    """The path of the module that each node was traced in; "" for the network itself."""
    scopes: dict[ir.Node, str] = {}
    for node in reversed(graph):
        traced = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        # The last scope is the call itself. A node that the exporter made has none of its
        # own, or an invented one, and counts to the module that uses it.
        if len(traced) > 1 and not traced[-2].startswith("_"):
            scopes[node] = str(traced[-2])
        else:
            users = (use.node for output in node.outputs for use in output.uses())
            scopes[node] = next((scopes[user] for user in users), "")
    return scopes


def _name_constants(model: ir.Model) -> None:
    """Name what the exporter folded (`val_28`) after its first use; keep parameters' names."""
    for name, value in list(model.graph.initializers.items()):
        value.metadata_props.clear()
        if not name.startswith("val_"):
            continue
        use = next(iter(value.uses()))
        scope, _, op = str(use.node.name).partition("/")
        model.graph.initializers.pop(name)
        is_weight = op.startswith("MatMul")
        value.name = f"{scope}.weight.T" if is_weight else f"{use.node.name}.{use.idx}"
        model.graph.initializers[value.name] = value


def _write(model: ir.Model, path: Path) -> None:
    ir.save(model, path, external_data=f"{path.name}.data")
