"""Compute what each fused operator must move and multiply, and the time that this takes.

A kernel's floor is the longer of two times: its bytes at the device's copy bandwidth, its
operations at the device's matmul rate. Bytes are counted once each way: the picture read,
the result written, the residual, the weights and the chosen expert read.
"""

from dataclasses import dataclass
from typing import Final

from lorair.benchmarks.schema.costs import Device, LayerRow
from lorair.exporter.model.config import RestorationConfig
from lorair.kernels import spec

KNOWN_DEVICES: Final = (
    Device(name="H200", bandwidth=4.3e12, rate=788e12),
    Device(name="RTX 4090", bandwidth=0.92e12, rate=165e12),
)
"""H200: measured. RTX 4090: 91 % of its 1.008 TB/s, and NVIDIA's figure for dense fp16 with
fp32 sums."""

_ELEMENT: Final = 2


@dataclass(frozen=True)
class Layer:
    """One fused operator at one place of the network.

    operator: of `spec.py`. inputs, outputs: channels of X, and of the convolution (before
    its gate). height, width: of X. count: how often the network has it.
    """

    operator: str
    inputs: int
    outputs: int
    height: int
    width: int
    rank: int
    count: int

    @property
    def made(self) -> int:
        """Return the channels of the result."""
        return self.outputs // 2 if spec.FORMS[self.operator].gate else self.outputs

    @property
    def bytes(self) -> int:
        """Return the bytes that must move, in fp16 and with one expert chosen."""
        planes = self.inputs + self.made
        if "residual" in spec.FORMS[self.operator].inputs:
            planes += self.outputs
        return _ELEMENT * (planes * self.height * self.width + self._weights())

    @property
    def operations(self) -> int:
        """Return the operations of the convolution, two for a multiply-add, without merging."""
        if self.operator == spec.NORM_SCALE_ADD:
            return 0
        taps = 9 if self.operator == spec.LORA_MOE_DEPTHWISE_GATE else self.inputs
        return 2 * taps * self.outputs * self.height * self.width

    def floor(self, device: Device) -> float:
        """Return the seconds that no kernel can beat."""
        # Depthwise and elementwise work does not run on tensor cores; it is bound by memory.
        products = self.operations if self.operator in spec.CONVOLUTIONS else 0
        return max(self.bytes / device.bandwidth, products / device.rate)

    def bound_by(self, device: Device) -> str:
        """Return what sets the floor: `memory` or `products`."""
        memory = self.bytes / device.bandwidth
        return "memory" if self.floor(device) <= memory else "products"

    def _weights(self) -> int:
        if self.operator == spec.NORM_SCALE_ADD:
            return 2 * self.inputs
        if self.operator == spec.LORA_MOE_DEPTHWISE_GATE:
            return 10 * self.outputs + 3 * self.rank * (3 + 3 * self.outputs)
        return self.outputs * (self.inputs + 1) + self.rank * (self.outputs + self.inputs)


def layers(config: RestorationConfig, height: int, width: int) -> list[Layer]:
    """Return the fused operators of a network on a padded picture, equal ones together."""
    depth, stride = len(config.enc_blk_nums), config.stride
    height, width = height + -height % stride, width + -width % stride
    counted: dict[tuple[str, int, int, int], int] = {}

    def add(operator: str, level: int, outputs: int, count: int, widen: int = 1) -> None:
        key = operator, level, widen * config.width << level, outputs
        counted[key] = counted.get(key, 0) + count

    blocks = [*config.enc_blk_nums, config.middle_blk_num]
    for level in range(depth + 1):
        c = config.width << level
        add(spec.NORM_SCALE_ADD, level, c, 1)
        decoded = config.dec_blk_nums[depth - 1 - level] if level < depth else 0
        count = blocks[level] + decoded
        add(spec.NORM_LORA_MOE_CONV, level, 2 * c, count)
        add(spec.LORA_MOE_DEPTHWISE_GATE, level, 2 * c, count, widen=2)
        add(spec.SCALE_LORA_MOE_CONV_ADD, level, c, count)
        add(spec.NORM_LORA_MOE_CONV_GATE, level, 2 * c, count)
        add(spec.LORA_MOE_CONV_ADD, level, c, count)
        if level:
            add(spec.LORA_MOE_CONV, level, 2 * c, 1)
    return [
        Layer(operator, inputs, outputs, height >> level, width >> level, config.r, count)
        for (operator, level, inputs, outputs), count in counted.items()
    ]


def row(layer: Layer, device: Device, **times: float) -> LayerRow:
    """Return one line of the result. times: `fused_ms` and others, if they were measured."""
    counted = {"bytes": layer.bytes, "operations": layer.operations}
    floor = {"floor_ms": layer.floor(device) * 1e3, "bound_by": layer.bound_by(device)}
    return LayerRow.model_validate({**vars(layer), **counted, **floor, **times})
