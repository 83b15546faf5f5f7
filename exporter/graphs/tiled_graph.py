"""The restorer's graph for tiles: pooled means are results, and may be given.

The network pools over the whole picture in every block, a tile sees a part of it. This
graph has the same weights, and beside `image`, `prior` and `gates`

`own_start`, `own_end`  (2) int64, top left and bottom right of the part of the tile that no
                        other tile counts, in pixels: multiples of the stride
`has_means`             () bool, whether the means are given
`means`                 (1, M, 1, 1) float32, those of all blocks, one after the other

to `restored` and `pooled` (1, M, 1, 1) float32: the means over the tile's own part. Means
of a picture are its tiles' weighted by their own parts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper

from lorair.exporter.graphs.inlined import inline
from lorair.kernels.onnx_functions import Target
from lorair.kernels.spec import LORA_MOE_DEPTHWISE_GATE

_PLANE: Final = "tiles/plane"


def write_tiled(restorer: Path, path: Path, target: Target, width: int) -> None:
    """Write a restorer's graph for tiles, bodies written out.

    Args:
        restorer: of `export_restorer`.
        path: the new graph, in the same folder: it uses the same weights file.
        target: of the bodies.
        width: channels of the network at full resolution; each level doubles them.
    """
    model = onnx.load(restorer, load_external_data=False)
    is_float32 = model.graph.initializer[0].data_type == TensorProto.FLOAT
    expose_means(model.graph, width, is_float32=is_float32)
    onnx.save(inline(model, target), path)


def expose_means(graph: onnx.GraphProto, width: int, *, is_float32: bool) -> None:
    """Make the pooled means results, and inputs that may take their place."""
    pools = [node for node in graph.node if node.op_type == LORA_MOE_DEPTHWISE_GATE]
    sizes = {tensor.name: tensor.dims for tensor in graph.initializer}
    channels = [sizes[node.input[1]][0] // 2 for node in pools]
    levels = sorted({count // width for count in channels})
    graph.initializer.extend([_integers(_PLANE, [2, 3]), _integers("tiles/channels", channels)])
    graph.initializer.extend(_integers(f"tiles/{level}", [level]) for level in levels)

    nodes = list(_first_nodes(levels, len(pools)))
    for node in graph.node:
        nodes.append(node)
        if node in pools:
            i = pools.index(node)
            nodes.extend(_pool(i, node, channels[i] // width, is_float32=is_float32))
    results = [f"tiles/pooled{i}" for i in range(len(pools))]
    nodes.append(helper.make_node("Concat", results, ["pooled"], axis=1))
    _rewire(nodes, {node.output[1]: f"tiles/mean{i}" for i, node in enumerate(pools)})
    for node in nodes:
        node.name = node.name or node.output[0]
    del graph.node[:]
    graph.node.extend(nodes)
    _add_inputs_and_output(graph, sum(channels))


def _first_nodes(levels: list[int], pools: int) -> Iterator[onnx.NodeProto]:
    """The own part's corners at each level, and the given means of each block."""
    for level in levels:
        for corner in ("own_start", "own_end"):
            inputs = [corner, f"tiles/{level}"]
            yield helper.make_node("Div", inputs, [f"tiles/{corner}{level}"])
    given = [f"tiles/given{i}" for i in range(pools)]
    yield helper.make_node("Split", ["means", "tiles/channels"], given, axis=1)


def _pool(
    i: int, node: onnx.NodeProto, level: int, *, is_float32: bool
) -> Iterator[onnx.NodeProto]:
    """The mean over a tile's own part of what a node results in, and the one to use."""
    y, own, used = node.output[0], f"tiles/own{i}", f"tiles/mean{i}"
    corners = [f"tiles/own_start{level}", f"tiles/own_end{level}"]
    yield helper.make_node("Slice", [y, *corners, _PLANE], [own])
    if not is_float32:
        yield helper.make_node("Cast", [own], [f"{own}_float"], to=TensorProto.FLOAT)
        own, used = f"{own}_float", f"{used}_float"
    pooled = f"tiles/pooled{i}"
    yield helper.make_node("ReduceMean", [own, _PLANE], [pooled])
    yield helper.make_node("Where", ["has_means", f"tiles/given{i}", pooled], [used])
    if not is_float32:
        yield helper.make_node("CastLike", [used, y], [f"tiles/mean{i}"])


def _rewire(nodes: list[onnx.NodeProto], names: dict[str, str]) -> None:
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)


def _add_inputs_and_output(graph: onnx.GraphProto, means: int) -> None:
    inputs: list[tuple[str, int, list[int]]] = [
        ("own_start", TensorProto.INT64, [2]),
        ("own_end", TensorProto.INT64, [2]),
        ("has_means", TensorProto.BOOL, []),
        ("means", TensorProto.FLOAT, [1, means, 1, 1]),
    ]
    graph.input.extend(helper.make_tensor_value_info(*value) for value in inputs)
    pooled = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, means, 1, 1])
    graph.output.append(pooled)


def _integers(name: str, values: list[int]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
