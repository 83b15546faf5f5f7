"""The Triton kernels in the interpreter, against float64 loops, within stated bounds."""

import os

import numpy as np
import pytest
import torch
from operators import ROUNDOFF, SMALLEST, draw, loops
from torch import Tensor

pytest.importorskip("triton")

from lorair.kernels import spec
from lorair.kernels.launches import tilings
from lorair.kernels.triton.run import run

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
all_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)

DEVICE = "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"
"""On the CPU it is Triton's interpreter that runs; `make gpu-check` asks for the GPU."""

UNIT = ROUNDOFF | ({torch.bfloat16: 2.0**-7} if DEVICE == "cpu" else {})
"""The interpreter cuts float32 to bfloat16 where a GPU rounds: twice the error."""

SCALE = 2.0
HOT, MIXED = (0.0, 1.0, 0.0), (0.25, 0.0, 0.75)
GATES = {
    "one": HOT,
    "all": (0.2, 0.3, 0.5),
    "none": (0.0, 0.0, 0.0),
    "each": (HOT, MIXED),
    "the only one": (1.0,),
}


def check(
    operator: str, x: Tensor, gates: object = HOT, tactic: int = 0, **shape: int
) -> list[Tensor]:
    """Run an operator on a picture, and compare every result with the loops."""
    given = {n: t.to(DEVICE) for n, t in draw(operator, x.dtype, tuple(x.shape), **shape).items()}
    given["x"] = x
    if "gates" in given:
        given["gates"] = torch.tensor(gates, device=DEVICE)
    found = run(operator, given, SCALE, tactic)
    for tensor, wanted in zip(found, loops(operator, given, SCALE, UNIT[x.dtype]), strict=True):
        assert tensor.dtype == x.dtype
        assert np.isfinite(wanted.value).all()
        off = np.abs(tensor.double().cpu().numpy() - wanted.value)
        worst = (off / (wanted.bound + SMALLEST[x.dtype])).max()
        assert worst <= 1, f"{worst:.2f} times the bound"
    return found


def pictures(dtype: torch.dtype, *shape: int) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(9)) * 3 + 2
    return drawn.to(DEVICE, dtype)


@all_dtypes
@pytest.mark.parametrize("operator", spec.CONVOLUTIONS)
def test_forms_of_the_1x1_convolution(dtype: torch.dtype, operator: str) -> None:
    # Neither channels nor pixels fill their last blocks.
    check(operator, pictures(dtype, 2, 45, 3, 13), GATES["each"], outputs=22, rank=5)


@pytest.mark.parametrize("gates", GATES)
def test_gates(gates: str) -> None:
    experts = 1 if gates == "the only one" else 3
    x = pictures(torch.float16, 2, 20, 2, 3)
    check(spec.NORM_LORA_MOE_CONV_GATE, x, GATES[gates], outputs=6, experts=experts)


@pytest.mark.parametrize("operator", [spec.NORM_LORA_MOE_CONV, spec.SCALE_LORA_MOE_CONV_ADD])
@pytest.mark.parametrize("channels", [1, 7, 33])
def test_a_single_pixel(operator: str, channels: int) -> None:
    check(operator, pictures(torch.float32, 1, channels, 1, 1), outputs=3)


@pytest.mark.parametrize(
    ("operator", "tactic"),
    [
        (spec.LORA_MOE_CONV, 3),
        (spec.NORM_LORA_MOE_CONV, 1),
        (spec.NORM_LORA_MOE_CONV_GATE, 1),
        (spec.LORA_MOE_CONV_ADD, 2),
        (spec.SCALE_LORA_MOE_CONV_ADD, 3),
    ],
)
def test_tiles(operator: str, tactic: int) -> None:
    """Several tiles each way, the last ones partly empty."""
    tile = tilings(operator, "fp16")[tactic - 1]
    x = pictures(torch.float16, 1, 40, 7, 11)
    check(operator, x, tactic=tactic, outputs=2 * tile.m - 30)


HOSTILE = {
    # As small a deviation as a type can hold there: its spacing at 300 and a few times that.
    "large mean": lambda n, u: 300 * (1 + 2 * u * torch.randint(-3, 4, (n,)).double()),
    "constant": lambda n, _: torch.full((n,), 300.0, dtype=torch.double),
    "huge": lambda n, _: 6e4 * torch.sign(torch.randn(n).double()),
    "one outlier": lambda n, _: torch.cat([torch.tensor([6e4]), torch.randn(n - 1)]).double(),
    "zero": lambda n, _: torch.zeros(n, dtype=torch.double),
}


def hostile_picture(kind: str, dtype: torch.dtype, *shape: int) -> Tensor:
    torch.manual_seed(2)
    columns = [HOSTILE[kind](shape[0], UNIT[dtype]) for _ in range(shape[1] * shape[2])]
    return torch.stack(columns, dim=1).to(DEVICE, dtype).reshape(1, *shape)


@all_dtypes
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("operator", [spec.NORM_LORA_MOE_CONV, spec.NORM_LORA_MOE_CONV_GATE])
def test_statistics_of_hostile_pixels(dtype: torch.dtype, hostile: str, operator: str) -> None:
    check(operator, hostile_picture(hostile, dtype, 72, 1, 5), MIXED, outputs=6, rank=5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_constant_picture_gives_the_bias(dtype: torch.dtype) -> None:
    """Not nearly: no rounding is left that the root of the epsilon could make large."""
    given = draw(spec.NORM_LORA_MOE_CONV, dtype, (1, 96, 2, 2), outputs=8)
    given |= {"x": torch.full_like(given["x"], 300.0), "gates": torch.tensor(HOT)}
    given["lora_bias"] = torch.zeros_like(given["lora_bias"])
    (found,) = run(spec.NORM_LORA_MOE_CONV, {n: t.to(DEVICE) for n, t in given.items()}, SCALE)
    assert torch.equal(found.cpu(), given["bias"].view(1, -1, 1, 1).expand_as(found))


@all_dtypes
@pytest.mark.parametrize("hostile", [None, *HOSTILE])
def test_norm_scale_add(dtype: torch.dtype, hostile: str | None) -> None:
    x = hostile_picture(hostile, dtype, 45, 3, 5) if hostile else pictures(dtype, 2, 45, 3, 5)
    check(spec.NORM_SCALE_ADD, x)


@all_dtypes
@pytest.mark.parametrize(
    ("size", "gates"), [((9, 67), "each"), ((1, 1), "one"), ((3, 2), "none"), ((17, 33), "all")]
)
def test_depthwise(dtype: torch.dtype, size: tuple[int, int], gates: str) -> None:
    """Tiles of 8 x 64 pixels: two each way, and three of which the last has a row."""
    x = pictures(dtype, 2 if gates == "each" else 1, 4, *size)
    _, mean = check(spec.LORA_MOE_DEPTHWISE_GATE, x, GATES[gates], rank=3)
    if dtype == torch.float16 or DEVICE == "cuda":
        _, again = check(spec.LORA_MOE_DEPTHWISE_GATE, x, GATES[gates], rank=3)
        assert torch.equal(mean, again)
