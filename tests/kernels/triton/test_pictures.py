import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data

from lorair.runtime import pixels as views
from lorair.runtime.gpu import kernels as runtime_kernels
from lorair.runtime.gpu.kernels import PictureKernels
from lorair.runtime.gpu.resampling import bicubic_table
from lorair.runtime.pixels import from_planes, to_planes

pytest.importorskip("triton")
from lorair.kernels.triton import pictures as triton_pictures
from lorair.kernels.variants import picture_variants

Picture = npt.NDArray[np.uint8]

VARIANTS = {variant.name: variant for variant in picture_variants()}
PIXELS = (torch.uint8, torch.uint16)
SIZES = ((1, 1), (3, 5), (17, 31), (16, 32), (2, 700))
# Parts of them: the interpreter is slow.
PHOTOS = {
    "coffee": data.coffee()[60:100, 60:120],
    "stereo_motorcycle": data.stereo_motorcycle()[0][100:160, 300:340],
}


def noise(size: tuple[int, int], dtype: torch.dtype = torch.uint8) -> npt.NDArray[np.generic]:
    kind = np.dtype(str(dtype).removeprefix("torch."))
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, (*size, 3), kind, endpoint=True)


def resized(pixels: Picture, side: int) -> Picture:
    """Width first; left to itself, Pillow takes the height first for some tall pictures."""
    narrowed = Image.fromarray(pixels).resize((side, len(pixels)), Image.Resampling.BICUBIC)
    return np.asarray(narrowed.resize((side, side), Image.Resampling.BICUBIC))


def expected_views(pixels: Picture, side: int) -> npt.NDArray[np.float32]:
    tiles = resized(pixels, 2 * side).reshape(2, side, 2, side, 3).swapaxes(1, 2)
    stack = np.stack([resized(pixels, side), *tiles.reshape(4, side, side, 3)]).astype(np.float32)
    normalised: npt.NDArray[np.float32] = (stack / np.float32(255) - views.MEAN) / views.STD
    return normalised.transpose(0, 3, 1, 2)[None]


class Interpreter:
    """Launches kernels in Triton's interpreter; tensors stand for their addresses."""

    stream = 0

    def load(self, kernel: Any) -> None:
        assert kernel in VARIANTS.values()

    def launch(self, kernel: Any, grid: Any, arguments: Any, _: int) -> None:
        values = dict(zip(kernel.signature, arguments, strict=True))
        kernel.function[grid](**values, **kernel.constants)


def kernels(pixel: torch.dtype = torch.uint8) -> PictureKernels:
    """As the runtime launches them; those for 16 bits in the place of those for 8."""
    bits = "u16" if pixel == torch.uint16 else "u8"
    chosen: Any = VARIANTS | {
        name: VARIANTS[name.replace("u8", bits)] for name in ("unpack_u8_fp32", "pack_u8_fp32")
    }
    for variant in chosen.values():
        object.__setattr__(variant, "arguments", tuple(variant.signature.items()))
    return PictureKernels(Interpreter(), Interpreter(), chosen)


def of(pixels: Any) -> Any:
    return runtime_kernels.DevicePicture(pixels, *pixels.shape[:2])


def made_views(pixels: Picture, side: int) -> npt.NDArray[np.generic]:
    picture, made = torch.tensor(pixels), torch.empty(1, 5, 3, side, side)
    for tiles in (1, 2):
        new = tiles * side
        narrowed = torch.empty(len(pixels), new, 3, dtype=torch.uint8)
        kernels().resize_rows(of(picture), table(pixels.shape[1], new), narrowed, new)
        kernels().resize_columns(narrowed, table(len(pixels), new), made, side, tiles)
    return made.numpy()


def table(source: int, target: int) -> Any:
    arrays = bicubic_table(source, target)
    return runtime_kernels.DeviceTable(*map(torch.tensor, arrays), len(arrays[-1]))


def unpack(pixels: torch.Tensor, stride: int) -> torch.Tensor:
    padded = tuple(side + -side % stride for side in pixels.shape[:2])
    planes = torch.full((1, 3, *padded), torch.nan)
    kernels(pixels.dtype).unpack(of(pixels), planes, padded)
    return planes


def pack(planes: Any, size: tuple[int, int], pixel: torch.dtype) -> tuple[torch.Tensor, bool]:
    """The picture, and whether a value was found that is not finite."""
    pixels, bad = torch.zeros(*size, 3, dtype=pixel), torch.zeros(1, dtype=torch.int32)
    kernels(pixel).pack(planes, of(pixels), planes.shape[2:], bad)
    return pixels, bool(bad)


@pytest.mark.parametrize("name", ["coffee", "tall"])
def test_views_are_what_the_runtime_makes(name: str) -> None:
    # Of the tall one, Pillow from 12.2 on would resize the height first.
    pixels = noise((48, 27)).astype(np.uint8) if name == "tall" else PHOTOS[name]
    side = 6 if name == "tall" else 12
    made = made_views(pixels, side)
    np.testing.assert_array_equal(made, views.make_views(pixels, side))


VIEWED = {
    **{name: (pixels, 20) for name, pixels in PHOTOS.items()},
    **{
        f"{height}x{width} at {side}": (noise((height, width)).astype(np.uint8), side)
        for height, width, side in [
            (1, 1, 8),
            (3, 400, 8),
            (80, 3, 21),
            (1, 40, 21),
            (9, 2, 21),
            (16, 16, 8),
        ]
    },
    "larger than the picture and a block": (PHOTOS["coffee"][:6, :10], 48),
}


@pytest.mark.parametrize("name", VIEWED)
def test_views(name: str) -> None:
    pixels, side = VIEWED[name]
    np.testing.assert_array_equal(made_views(pixels, side), expected_views(pixels, side))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel", PIXELS)
def test_unpack(size: tuple[int, int], pixel: torch.dtype) -> None:
    pixels = noise(size, pixel)
    np.testing.assert_array_equal(unpack(torch.tensor(pixels), 16), to_planes(pixels, 16))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel", PIXELS)
def test_pack(size: tuple[int, int], pixel: torch.dtype) -> None:
    padded = (1, 3, size[0] + 7, size[1] + 3)
    planes = torch.from_numpy(np.random.default_rng(1).normal(0.5, 0.5, padded))
    assert_packed(planes, size, pixel)


@pytest.mark.parametrize("pixel", PIXELS)
def test_pack_at_the_ties_and_beyond(pixel: torch.dtype) -> None:
    peak = torch.iinfo(pixel).max
    ties = (torch.arange(0, peak, peak // 255, dtype=torch.float64) + 0.5) / peak
    beside = [ties.float().nextafter(torch.tensor(x)) for x in (-torch.inf, 0.5, torch.inf)]
    beyond = [-torch.inf, -3.0, -1e-9, -0.0, 0.0, 1.0, 1.0 + 2**-7, 1e4, torch.inf]
    values = torch.cat([ties.float(), *beside, torch.tensor(beyond)])
    values = torch.cat([values, values.new_zeros(-len(values) % 3)])
    planes = values.reshape(1, 3, 1, -1)
    assert_packed(planes, (1, planes.shape[-1]), pixel)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_pack_tells_what_is_no_number(value: float) -> None:
    planes = torch.zeros(1, 3, 16, 32)
    planes[0, 1, 4, 29] = value
    for width in (32, 29):  # beyond the crop nobody looks
        _, bad = pack(planes, (16, width), torch.uint8)
        assert bad == (width == 32 and not math.isfinite(value))


def assert_packed(planes: torch.Tensor, size: tuple[int, int], pixel: torch.dtype) -> None:
    made = pack(planes, size, pixel)[0].numpy()
    expected = from_planes(planes.float().numpy(), size, made.dtype)
    assert made.dtype == np.dtype(str(pixel).removeprefix("torch."))
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("pixel", PIXELS)
def test_every_value_survives_the_way_there_and_back(pixel: torch.dtype) -> None:
    peak = torch.iinfo(pixel).max
    values = np.arange(peak + 1, dtype=str(pixel).removeprefix("torch."))
    size = (160, 150) if pixel == torch.uint16 else (16, 16)
    pixels = torch.tensor(np.resize(values, (*size, 3)))
    planes = unpack(pixels, 16)
    assert torch.equal(pack(planes, size, pixel)[0], pixels)


def test_variants_name_every_kernel_and_argument() -> None:
    for variant in VARIANTS.values():
        assert [*variant.signature, *variant.constants] == variant.function.arg_names
    kernels = {name for name in vars(triton_pictures) if name.endswith("_kernel")}
    assert {variant.function.__name__ for variant in VARIANTS.values()} == kernels
