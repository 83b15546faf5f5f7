"""Floors against counts by hand, and the command where nothing can be timed."""

import json

import pytest
import torch
from command import Command

from lorair.benchmarks.commands import kernels as kernels_command
from lorair.benchmarks.kernels.floors import Layer, layers, row
from lorair.benchmarks.schema.costs import Device, KernelSize
from lorair.exporter.model import RestorationNet
from lorair.exporter.model.config import PRESETS
from lorair.kernels import spec

SETTING1 = PRESETS["setting1"].restoration
SLOW = Device(name="slow", bandwidth=1e9, rate=1e12)


def test_setting1_has_the_network_s_operations() -> None:
    """63.06 G multiply-adds at 256x256, less what is not fused: ends, downs, modulation, SCA."""
    found = sum(layer.operations * layer.count for layer in layers(SETTING1, 256, 256))
    c, pixels = SETTING1.width, 256 * 256
    ends = 2 * 3 * 9 * c * pixels
    downs = sum(4 * (c << i) * (c << i + 1) * (pixels >> 2 * (i + 1)) for i in range(4))
    assert (found / 2 + ends + downs) / 1e9 == pytest.approx(63.06, rel=2e-3)


def test_five_fused_operators_a_block() -> None:
    counted: dict[str, int] = {}
    for layer in layers(SETTING1, 256, 256):
        counted[layer.operator] = counted.get(layer.operator, 0) + layer.count
    blocks = sum(SETTING1.enc_blk_nums) + sum(SETTING1.dec_blk_nums) + SETTING1.middle_blk_num
    assert counted.pop(spec.NORM_SCALE_ADD) == 5
    assert counted.pop(spec.LORA_MOE_CONV) == 4
    assert set(counted.values()) == {blocks}
    assert len(counted) == 5


def test_a_layer_by_hand() -> None:
    layer = Layer(spec.SCALE_LORA_MOE_CONV_ADD, 8, 8, 10, 20, rank=2, count=3)
    # Picture, result and residual; weight and bias; one expert. Two bytes each.
    assert layer.bytes == 2 * (3 * 8 * 200 + 8 * 9 + 2 * 16)
    assert layer.operations == 2 * 8 * 8 * 200
    line = row(layer, SLOW)
    assert line.floor_ms == pytest.approx(layer.bytes / 1e9 * 1e3)
    assert line.bound_by == "memory"
    fast = Device(name="fast memory", bandwidth=1e15, rate=1e9)
    assert row(layer, fast).bound_by == "products"
    both = KernelSize(size=(10, 20), device=SLOW, layers=(line, line))
    assert both.total("floor_ms") == pytest.approx(6 * line.floor_ms)


def test_a_gate_halves_the_result() -> None:
    layer = Layer(spec.NORM_LORA_MOE_CONV_GATE, 8, 16, 4, 4, rank=2, count=1)
    assert layer.made == 8
    assert layer.operations == 2 * 8 * 16 * 16


def test_convolutions_that_can_be_merged_once() -> None:
    """Two that prepare the prior, four in each modulation, SCA's; the others see pictures."""
    pytest.importorskip("triton")
    from lorair.benchmarks.kernels.timing import pointwise

    with torch.device("meta"):
        net = RestorationNet(SETTING1)
    single, every = pointwise(net, single_pixel=True), pointwise(net)
    assert len(single) == 2 + 4 * 5 + 36
    assert len(every) == len(single) + 4 + 4 * 36
    assert {conv.lora_A_list.shape[1] for conv in every} == {SETTING1.r}


def test_sizes_are_padded() -> None:
    heights = {layer.height for layer in layers(SETTING1, 1080, 1920)}
    assert heights == {1088 >> level for level in range(5)}


def test_command_without_a_gpu(lorair_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = {
        "name": "planted", "sm": 90, "threads": 128, "registers": 99, "spilled": 0, "shared": 1024,
    }  # fmt: skip
    monkeypatch.setattr(kernels_command, "_compile", lambda _: [planted])
    monkeypatch.setattr(kernels_command, "is_installed", lambda _: True)
    arguments = ("kernels", "--preset", "tiny", "--size", "64x64")
    shown = lorair_bench(*arguments)
    assert shown.code == 0, shown.err
    assert "Nothing was timed" in shown.out
    assert "planted" in shown.out
    document = json.loads(lorair_bench(*arguments, "--json").out)
    assert document["timed"] is False
    assert [entry["device"]["name"] for entry in document["sizes"]] == ["H200", "RTX 4090"]
    assert all(line["fused_ms"] is None for e in document["sizes"] for line in e["layers"])
