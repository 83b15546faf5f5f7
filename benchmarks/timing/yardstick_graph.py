"""Draws the yardstick's graph: `python -m lorair.benchmarks.timing.yardstick_graph FILE`.

A U-net of restoration blocks: 1x1 and depthwise 3x3 convolutions, norms, gates, pooled
means. Weights are constants of one value, which the library unfolds as it loads: a few
kilobytes in the file. Needs the export extra; what it draws is kept in the package.
"""

import sys
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

WIDTH = 16
BLOCKS = (1, 1, 1, 2)
"""Of each level; one more at the bottom, one a level on the way up."""

_OPSET = 18
_IR = 8


class Drawing:
    """Nodes and constants; every method returns the name of its value."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """A node with several."""
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def integers(self, *values: int) -> str:
        """A constant (len(values),) int64."""
        name = f"integers_{len(self.constants)}"
        shape = [len(values)]
        self.constants.append(helper.make_tensor(name, TensorProto.INT64, shape, values))
        return name

    def full(self, value: float, *shape: int) -> str:
        """A constant of one value."""
        tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
        return self.op("ConstantOfShape", self.integers(*shape), value=tensor)

    def conv(
        self, x: str, inputs: int, outputs: int, side: int = 1, groups: int = 1, stride: int = 1
    ) -> str:
        """A convolution that takes means; padded unless it strides."""
        each = inputs // groups
        weight = self.full(1 / (each * side * side), outputs, each, side, side)
        pads = [side // 2 if stride == 1 else 0] * 4
        bias = self.full(0.01, outputs)
        strides = [stride, stride]
        return self.op("Conv", x, weight, bias, group=groups, strides=strides, pads=pads)

    def norm(self, x: str) -> str:
        """Divided by the root of the channels' mean square."""
        mean = self.op("ReduceMean", self.op("Mul", x, x), self.integers(1), keepdims=1)
        return self.op("Div", x, self.op("Sqrt", self.op("Add", mean, self.full(1e-3, 1))))

    def gate(self, x: str) -> str:
        """One half of the channels times the other."""
        return self.op("Mul", *self.ops("Split", x, outputs=2, axis=1, num_outputs=2))

    def block(self, x: str, channels: int) -> str:
        """A restoration block."""
        c = channels
        y = self.conv(self.norm(x), c, 2 * c)
        y = self.gate(self.conv(y, 2 * c, 2 * c, 3, groups=2 * c))
        y = self.op("Mul", y, self.conv(self.op("GlobalAveragePool", y), c, c))
        x = self.op("Add", x, self.conv(y, c, c))
        y = self.gate(self.conv(self.norm(x), c, 2 * c))
        return self.op("Add", x, self.conv(y, c, c))


def draw() -> ModelProto:
    """`image` (1, 3, H, W) float32 -> `restored` of the same shape; sides multiples of 16."""
    drawing, c = Drawing(), WIDTH
    x, skips = drawing.conv("image", 3, c, 3), []
    for blocks in BLOCKS:
        for _ in range(blocks):
            x = drawing.block(x, c)
        skips.append(x)
        x, c = drawing.conv(x, c, 2 * c, 2, stride=2), 2 * c
    x = drawing.block(x, c)
    for skip in reversed(skips):
        x, c = drawing.op("DepthToSpace", drawing.conv(x, c, 2 * c), blocksize=2), c // 2
        x = drawing.block(drawing.op("Add", x, skip), c)
    correction = drawing.op("Mul", drawing.conv(x, c, 3, 3), drawing.full(1e-4, 1))
    drawing.nodes.append(helper.make_node("Add", ["image", correction], ["restored"]))
    return _model(drawing)


def _model(drawing: Drawing) -> ModelProto:
    image, restored = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "height", "width"])
        for name in ("image", "restored")
    )
    graph = helper.make_graph(
        drawing.nodes, "yardstick", [image], [restored], initializer=drawing.constants
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(draw().SerializeToString(deterministic=True))
