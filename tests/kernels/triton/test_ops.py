"""The Triton kernels in the interpreter, against float64 loops, within stated bounds."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from operators import (
    ROUNDOFF,
    SMALLEST,
    Bounded,
    Experts,
    conv1x1,
    depthwise_gate,
    norm_scale_add,
)
from torch import Tensor

pytest.importorskip("triton")

from lorair.kernels import spec
from lorair.kernels.launches import tilings
from lorair.kernels.spec import FORMS
from lorair.kernels.triton.run import run

Array = npt.NDArray[np.float64]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
all_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""On the CPU it is Triton's interpreter that runs."""

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


class Layer:
    """A convolution with experts, drawn: as tensors of a type, and exactly in float64."""

    def __init__(
        self,
        dtype: torch.dtype,
        seed: int,
        shape: tuple[int, int, int, int],
        rank: int = 5,
        experts: int = 3,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        outputs, inputs, k, _ = shape
        columns = (outputs if k == 3 else inputs) * k
        rows = k if k == 3 else outputs

        def draw(size: float, *sides: int) -> Tensor:
            return (torch.randn(sides, generator=generator) * size).to(DEVICE, dtype)

        size = (inputs * k * k) ** -0.5
        self.weight = draw(size, *shape)
        self.A, self.B = draw(size, experts, rank * k, columns), draw(0.3, experts, rows, rank * k)
        self.bias, self.lora_bias = draw(1, outputs), draw(1, experts, outputs)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {
            **{"weight": self.weight, "lora_A": self.A, "lora_B": self.B},
            **{"bias": self.bias, "lora_bias": self.lora_bias},
        }

    def exact(self, *, bias: bool, lora_bias: bool) -> Experts:
        weight, A, B, b, lb = map(
            exact, (self.weight, self.A, self.B, self.bias * bias, self.lora_bias * lora_bias)
        )
        return Experts(weight, A, B, b, lb, SCALE)


def exact(tensor: Tensor) -> Array:
    return tensor.double().cpu().numpy()


def check(found: Tensor, wanted: list[Bounded]) -> None:
    value = np.stack([w.value for w in wanted]).reshape(found.shape)
    bound = np.stack([w.bound for w in wanted]).reshape(found.shape)
    off = np.abs(exact(found) - value)
    assert np.isfinite(value).all()
    worst = (off / (bound + SMALLEST[found.dtype])).max()
    assert worst <= 1, f"{worst:.2f} times the bound"


def pictures(dtype: torch.dtype, *shape: int) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(9)) * 3 + 2).to(
        DEVICE, dtype
    )


def check_conv(
    operator: str,
    gates: tuple[float, ...] | tuple[tuple[float, ...], ...],
    x: Tensor,
    outputs: int,
    tactic: int = 0,
) -> None:
    """Run one form of the 1x1 kernel and check it."""
    batch, channels, height, width = x.shape
    g = torch.tensor(gates, device=DEVICE)
    layer = Layer(x.dtype, 3, (outputs, channels, 1, 1), experts=g.shape[-1])
    form = FORMS[operator]
    generator = torch.Generator().manual_seed(7)
    factors = torch.rand((batch, channels, 1, 1), generator=generator).to(x)
    residual = torch.randn((batch, outputs, height, width), generator=generator).to(x)
    given = {**layer.tensors, "x": x, "gates": g, "channel_scale": factors, "residual": residual}
    given = {name: given[name] for name in form.inputs}
    (found,) = run(operator, given, SCALE, tactic)
    assert found.dtype == x.dtype
    each = exact(g.expand(batch, -1))
    wanted = [
        conv1x1(
            exact(x[n]).reshape(channels, -1),
            layer.exact(bias="bias" in given, lora_bias="lora_bias" in given),
            each[n],
            UNIT[x.dtype],
            norm=form.norm,
            gate=form.gate,
            channel_scale=exact(factors[n]).ravel() if "channel_scale" in given else None,
            residual=exact(residual[n]).reshape(outputs, -1) if "residual" in given else None,
        )
        for n in range(batch)
    ]
    check(found, wanted)


@all_dtypes
@pytest.mark.parametrize("operator", spec.CONVOLUTIONS)
def test_forms_of_the_1x1_convolution(dtype: torch.dtype, operator: str) -> None:
    # Neither channels nor pixels fill their last blocks.
    check_conv(operator, GATES["each"], pictures(dtype, 2, 45, 3, 13), 22)


@pytest.mark.parametrize("gates", GATES)
def test_gates(gates: str) -> None:
    x = pictures(torch.float16, 2, 20, 2, 3)
    check_conv(spec.NORM_LORA_MOE_CONV_GATE, GATES[gates], x, 6)


@pytest.mark.parametrize("operator", [spec.NORM_LORA_MOE_CONV, spec.SCALE_LORA_MOE_CONV_ADD])
@pytest.mark.parametrize("channels", [1, 7, 33])
def test_a_single_pixel(operator: str, channels: int) -> None:
    check_conv(operator, HOT, pictures(torch.float32, 1, channels, 1, 1), 3)


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
    x = pictures(torch.float16, 1, 40, 7, 11)
    tile = tilings(operator, "fp16")[tactic - 1]
    check_conv(operator, HOT, x, 2 * tile.m - 30, tactic)


HOSTILE = {
    # As small a deviation as a type can hold there: its spacing at 300 and a few times that.
    "large mean": lambda n, u: 300 * (1 + 2 * u * torch.randint(-3, 4, (n,)).double()),
    "constant": lambda n, _: torch.full((n,), 300.0, dtype=torch.double),
    "huge": lambda n, _: 6e4 * torch.sign(torch.randn(n).double()),
    "one outlier": lambda n, _: torch.cat([torch.tensor([6e4]), torch.randn(n - 1)]).double(),
    "zero": lambda n, _: torch.zeros(n, dtype=torch.double),
}


@all_dtypes
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("operator", [spec.NORM_LORA_MOE_CONV, spec.NORM_LORA_MOE_CONV_GATE])
def test_statistics_of_hostile_pixels(dtype: torch.dtype, hostile: str, operator: str) -> None:
    torch.manual_seed(2)
    u = UNIT[dtype]
    columns = torch.stack([HOSTILE[hostile](72, u) for _ in range(5)], dim=1)
    x = columns.to(DEVICE, dtype).reshape(1, 72, 1, 5)
    check_conv(operator, MIXED, x, 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_constant_picture_gives_the_bias(dtype: torch.dtype) -> None:
    """Not nearly: no rounding is left that the root of the epsilon could make large."""
    layer = Layer(dtype, 1, (8, 96, 1, 1))
    x = torch.full((1, 96, 2, 2), 300.0).to(DEVICE, dtype)
    tensors = {**layer.tensors, "x": x, "gates": torch.tensor(HOT, device=DEVICE)}
    tensors["lora_bias"] = torch.zeros_like(layer.lora_bias)
    (found,) = run(spec.NORM_LORA_MOE_CONV, tensors, SCALE)
    assert torch.equal(found, layer.bias.view(1, -1, 1, 1).expand_as(found))


@all_dtypes
@pytest.mark.parametrize("hostile", [None, *HOSTILE])
def test_norm_scale_add(dtype: torch.dtype, hostile: str | None) -> None:
    torch.manual_seed(2)
    x = pictures(dtype, 2, 45, 3, 5)
    if hostile is not None:
        columns = torch.stack([HOSTILE[hostile](45, UNIT[dtype]) for _ in range(15)], 1)
        x = columns.to(DEVICE, dtype).reshape(1, 45, 3, 5)
    scale, shift = (torch.randn(len(x), 45, 1, 1).to(DEVICE, dtype) for _ in range(2))
    tensors = {"x": x, "channel_scale": scale, "channel_shift": shift}
    (found,) = run(spec.NORM_SCALE_ADD, tensors)
    wanted = [
        norm_scale_add(
            exact(x[n]).reshape(45, -1),
            exact(scale[n]).ravel(),
            exact(shift[n]).ravel(),
            UNIT[dtype],
        )
        for n in range(len(x))
    ]
    check(found, wanted)


@all_dtypes
@pytest.mark.parametrize(
    ("size", "gates"), [((9, 67), "each"), ((1, 1), "one"), ((3, 2), "none"), ((17, 65), "all")]
)
def test_depthwise(dtype: torch.dtype, size: tuple[int, int], gates: str) -> None:
    batch, channels = (2, 6) if gates == "each" else (1, 6)
    layer = Layer(dtype, 5, (channels, 1, 3, 3), rank=3)
    x = pictures(dtype, batch, channels, *size)
    g = torch.tensor(GATES[gates], device=DEVICE)
    tensors = {**layer.tensors, "x": x, "gates": g}
    found, mean = run(spec.LORA_MOE_DEPTHWISE_GATE, tensors, SCALE)
    each = exact(g.expand(batch, 3))
    experts = layer.exact(bias=True, lora_bias=False)
    pairs = [depthwise_gate(exact(x[n]), experts, each[n], UNIT[dtype]) for n in range(batch)]
    check(found, [y for y, _ in pairs])
    check(mean, [m for _, m in pairs])
    assert torch.equal(mean, run(spec.LORA_MOE_DEPTHWISE_GATE, tensors, SCALE)[1])
