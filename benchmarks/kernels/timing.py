"""Time the fused operators on this machine's GPU, beside PyTorch's separate ones.

Every call is captured as a CUDA graph, so that what is timed is the GPU's work and not
Python's; the second-level cache is emptied before each.
"""

import copy
from collections.abc import Callable, Mapping
from statistics import median
from types import ModuleType
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorair.benchmarks.kernels.floors import Layer
from lorair.benchmarks.schema.costs import Device
from lorair.exporter.model import RestorationNet
from lorair.exporter.model.config import LORA_SCALE, RestorationConfig
from lorair.exporter.model.fold import fold
from lorair.exporter.model.lora_moe import LoRAMoEConv2d
from lorair.kernels import spec, torch_ops, torch_reference
from lorair.kernels.triton.merge import Packed, merge, pack

Call = Callable[[], Any]

_ROUNDS: Final = 30
_CACHE: Final = 1 << 28
"""Bytes written before each round: more than any second-level cache."""


def measure_device() -> Device:
    """Measure the copy bandwidth and the rate of matrix products."""
    with torch.inference_mode():
        source = torch.empty(1 << 29, dtype=torch.float16, device="cuda")
        target = torch.empty_like(source)
        copied = seconds(lambda: target.copy_(source))
        a = torch.randn(8192, 8192, dtype=torch.float16, device="cuda")
        multiplied = seconds(lambda: a @ a)
    bandwidth = 2 * source.numel() * source.element_size() / copied
    rate = 2 * 8192**3 / multiplied
    return Device(name=torch.cuda.get_device_name(), bandwidth=bandwidth, rate=rate)


def time_layer(layer: Layer, experts: int) -> dict[str, float]:
    """Return fused_ms, unfused_ms and merged_ms of a layer in fp16 with one expert chosen."""
    with torch.inference_mode():
        given = _inputs(layer, experts)
        calls = {
            "fused_ms": _operator(layer.operator, given, torch_ops),
            "unfused_ms": _operator(layer.operator, given, torch_reference),
            "merged_ms": _merged(layer.operator, given),
        }
        return {name: seconds(call) * 1e3 for name, call in calls.items()}


def _inputs(layer: Layer, experts: int) -> dict[str, Tensor]:
    """All arguments that an operator of this layer may have, drawn in fp16."""
    depthwise = layer.operator == spec.LORA_MOE_DEPTHWISE_GATE
    c, out, k = layer.inputs, layer.outputs, 3 if depthwise else 1
    gates = torch.zeros(experts, device="cuda")
    gates[0] = 1
    return {
        "x": _draw(1, c, layer.height, layer.width),
        "weight": _draw(out, 1 if depthwise else c, k, k),
        "lora_A": _draw(experts, layer.rank * k, c * k),
        "lora_B": _draw(experts, k if depthwise else out, layer.rank * k),
        "gates": gates,
        "bias": _draw(out),
        "lora_bias": _draw(experts, out),
        "channel_scale": _draw(1, c, 1, 1),
        "channel_shift": _draw(1, c, 1, 1),
        "residual": _draw(1, out, layer.height, layer.width),
    }


def _operator(operator: str, given: Mapping[str, Tensor], home: ModuleType) -> Call:
    """The operator as a module of kernels runs it."""
    inputs = {name: given[name] for name in spec.FORMS[operator].inputs}
    function = torch_reference.function_of(operator, LORA_SCALE, home)
    return lambda: function(**inputs)


def _merged(operator: str, given: Mapping[str, Tensor]) -> Call:
    """PyTorch's separate operators with weights merged beforehand."""
    norm, gate = torch_reference.channel_norm, torch_reference.simple_gate
    x, weight, residual = given["x"], given["weight"], given["residual"]

    def conv(v: Tensor, bias: Tensor | None = given["bias"]) -> Tensor:
        if operator == spec.LORA_MOE_DEPTHWISE_GATE:
            return F.conv2d(v, weight, bias, padding=1, groups=len(weight))
        return F.conv2d(v, weight, bias)

    def gated_mean() -> tuple[Tensor, Tensor]:
        y = gate(conv(x))
        return y, torch_reference.global_mean(y)

    table: dict[str, Call] = {
        spec.LORA_MOE_CONV: lambda: conv(x, None),
        spec.NORM_LORA_MOE_CONV: lambda: conv(norm(x)),
        spec.NORM_LORA_MOE_CONV_GATE: lambda: gate(conv(norm(x))),
        spec.LORA_MOE_DEPTHWISE_GATE: gated_mean,
        spec.LORA_MOE_CONV_ADD: lambda: residual + conv(x),
        spec.SCALE_LORA_MOE_CONV_ADD: lambda: residual + conv(x * given["channel_scale"]),
        spec.NORM_SCALE_ADD: _operator(operator, given, torch_reference),
    }
    return table[operator]


def time_network(config: RestorationConfig, height: int, width: int) -> dict[str, float]:
    """Return the milliseconds of the whole network in fp16, each form as one CUDA graph.

    fused: one expert chosen; fused_mixed: all; fused_plain: none, as with weights that were
    merged for a route that stays; merge: what merges those of all 1x1 convolutions, once a
    route; merge_single_pixel: of those alone that see one pixel; eager: PyTorch, channels last,
    weights merged beforehand; compiled: torch.compile of that.
    """
    torch.manual_seed(0)
    net = RestorationNet(config).eval().requires_grad_(False).cuda()
    gates = torch.zeros(config.num_experts, device="cuda")
    gates[0] = 1
    mixed = torch.full_like(gates, 1 / config.num_experts)
    every, single = _packed(pointwise(net)), _packed(pointwise(net, single_pixel=True))
    none = torch.zeros_like(gates)
    image, prior = _draw(1, 3, height, width), _draw(1, config.prior)
    channels_last = image.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        folded = fold(net).half()
        plain = merged_network(net).half()
        plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
        compiled = torch.compile(plain)
        calls = {
            "fused": lambda: folded(image, prior, gates),
            "fused_mixed": lambda: folded(image, prior, mixed),
            "fused_plain": lambda: folded(image, prior, none),
            "merge": lambda: merge(every, gates, LORA_SCALE),
            "merge_single_pixel": lambda: merge(single, gates, LORA_SCALE),
            "eager": lambda: plain(channels_last, prior, gates),
            "compiled": lambda: compiled(channels_last, prior, gates),
        }
        return {name: seconds(call) * 1e3 for name, call in calls.items()}


def pointwise(net: RestorationNet, *, single_pixel: bool = False) -> list[LoRAMoEConv2d]:
    """Return the 1x1 convolutions; or of them the modulations' and SCA's, which see one pixel."""
    return [
        module
        for name, module in net.named_modules()
        if isinstance(module, LoRAMoEConv2d)
        and module.conv.kernel_size == (1, 1)
        and not (single_pixel and _sees_a_picture(name))
    ]


def _packed(convolutions: list[LoRAMoEConv2d]) -> Packed:
    """In fp16, as `merge` takes them."""
    return pack(
        [(c.conv.weight.half(), c.lora_A_list.half(), c.lora_B_list.half()) for c in convolutions]
    )


def _sees_a_picture(name: str) -> bool:
    return name.startswith("ups.") or (".blocks." in name and ".sca." not in name)


class _Plain(nn.Module):
    """A convolution that takes gates and has no use for them."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        del gates
        return self.conv(x)


def merged_network(net: RestorationNet) -> RestorationNet:
    """Return a copy without experts, which is what merging beforehand leaves."""
    merged = copy.deepcopy(net)
    for module in list(merged.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoRAMoEConv2d):
                setattr(module, name, _Plain(child.conv))
    return merged


def seconds(call: Call) -> float:
    """Return the median seconds of a call that is captured as a CUDA graph."""
    replay = _capture(call)
    cache = torch.empty(_CACHE, dtype=torch.uint8, device="cuda")
    times = []
    for _ in range(_ROUNDS):
        cache.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return median(times)


def _capture(call: Call) -> Call:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float16, device="cuda") * 0.05
