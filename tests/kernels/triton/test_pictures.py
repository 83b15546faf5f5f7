import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data

from lorair.exporter import photos
from lorair.runtime import pixels as views
from lorair.runtime.pixels import from_planes, to_planes

pytest.importorskip("triton")
from lorair.kernels.triton import pictures as triton_pictures

Picture = npt.NDArray[np.uint8]

PLANES = (torch.float32, torch.float16, torch.bfloat16)
PIXELS = (torch.uint8, torch.uint16)
SIZES = ((1, 1), (3, 5), (17, 31), (16, 32), (2, 700))
# Parts of them: the interpreter is slow.
PHOTOS = {
    **{
        path.stem: np.asarray(Image.open(path).convert("RGB"))[60:130, 60:160]
        for path in photos.paths()
    },
    "rocket": data.rocket()[200:260, 250:350],
    "stereo_motorcycle": data.stereo_motorcycle()[0][100:190, 300:350],
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


def made_views(pixels: Picture, side: int, dtype: torch.dtype) -> npt.NDArray[np.generic]:
    made: npt.NDArray[np.generic] = triton_pictures.make_views(
        torch.tensor(pixels), side, dtype
    ).numpy()
    return made


@pytest.mark.parametrize("name", PHOTOS)
def test_views_of_photographs(name: str) -> None:
    pixels = PHOTOS[name]
    made = made_views(pixels, 28, torch.float32)
    np.testing.assert_array_equal(made, expected_views(pixels, 28))


@pytest.mark.parametrize("name", ["chelsea", "coffee", "tall"])
def test_views_are_what_the_runtime_makes(name: str) -> None:
    # Of the tall one, Pillow from 12.2 on would resize the height first.
    pixels = noise((192, 108)).astype(np.uint8) if name == "tall" else PHOTOS[name]
    made = made_views(pixels, 33, torch.float32)
    np.testing.assert_array_equal(made, views.make_views(pixels, 33))


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (250, 3), (1, 40), (9, 2), (16, 16)])
@pytest.mark.parametrize("side", [8, 21])
def test_views_of_any_shape(size: tuple[int, int], side: int) -> None:
    pixels = noise(size).astype(np.uint8)
    made = made_views(pixels, side, torch.float32)
    np.testing.assert_array_equal(made, expected_views(pixels, side))


def test_views_larger_than_the_picture_and_a_block() -> None:
    pixels = PHOTOS["rocket"][:20, :30]
    made = made_views(pixels, 64, torch.float32)
    np.testing.assert_array_equal(made, expected_views(pixels, 64))


def test_views_in_half_precision_are_rounded_once() -> None:
    pixels = PHOTOS["rocket"][:40, :50]
    made = made_views(pixels, 16, torch.float16)
    np.testing.assert_array_equal(made, expected_views(pixels, 16).astype(np.float16))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel", PIXELS)
@pytest.mark.parametrize("plane", PLANES)
def test_unpack(size: tuple[int, int], pixel: torch.dtype, plane: torch.dtype) -> None:
    pixels = noise(size, pixel)
    made = triton_pictures.unpack(torch.tensor(pixels), 16, plane)
    expected = torch.from_numpy(to_planes(pixels, 16))
    assert made.dtype == plane
    # The interpreter cuts bfloat16 off where a GPU rounds: up to a unit of the last place.
    tolerance = 2**-7 if plane == torch.bfloat16 else 0
    torch.testing.assert_close(made, expected.to(plane), rtol=tolerance, atol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel", PIXELS)
@pytest.mark.parametrize("plane", PLANES)
def test_pack(size: tuple[int, int], pixel: torch.dtype, plane: torch.dtype) -> None:
    padded = (1, 3, size[0] + 7, size[1] + 3)
    planes = torch.from_numpy(np.random.default_rng(1).normal(0.5, 0.5, padded)).to(plane)
    assert_packed(planes, size, pixel)


@pytest.mark.parametrize("pixel", PIXELS)
@pytest.mark.parametrize("plane", PLANES)
def test_pack_at_the_ties_and_beyond(pixel: torch.dtype, plane: torch.dtype) -> None:
    peak = torch.iinfo(pixel).max
    ties = (torch.arange(0, peak, peak // 255, dtype=torch.float64) + 0.5) / peak
    beside = [ties.float().nextafter(torch.tensor(x)) for x in (-torch.inf, 0.5, torch.inf)]
    beyond = [-torch.inf, -3.0, -1e-9, -0.0, 0.0, 1.0, 1.0 + 2**-7, 1e4, torch.inf]
    values = torch.cat([ties.float(), *beside, torch.tensor(beyond)])
    values = torch.cat([values, values.new_zeros(-len(values) % 3)])
    planes = values.reshape(1, 3, 1, -1).to(plane)
    assert_packed(planes, (1, planes.shape[-1]), pixel)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_pack_tells_what_is_no_number(value: float) -> None:
    planes = torch.zeros(1, 3, 16, 32)
    planes[0, 1, 4, 29] = value
    for width in (32, 29):  # beyond the crop nobody looks
        bad = torch.zeros(1, dtype=torch.int32)
        triton_pictures.pack(planes, (16, width), torch.uint8, bad)
        assert bool(bad) == (width == 32 and not math.isfinite(value))


def assert_packed(planes: torch.Tensor, size: tuple[int, int], pixel: torch.dtype) -> None:
    made = triton_pictures.pack(planes, size, pixel).numpy()
    expected = from_planes(planes.float().numpy(), size, made.dtype)
    assert made.dtype == np.dtype(str(pixel).removeprefix("torch."))
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("pixel", PIXELS)
def test_every_value_survives_the_way_there_and_back(pixel: torch.dtype) -> None:
    peak = torch.iinfo(pixel).max
    values = np.arange(peak + 1, dtype=str(pixel).removeprefix("torch."))
    pixels = torch.tensor(np.resize(values, (160, 150, 3)))
    planes = triton_pictures.unpack(pixels, 16)
    assert torch.equal(triton_pictures.pack(planes, (160, 150), pixel), pixels)


def test_arrays_need_not_be_contiguous() -> None:
    pixels = torch.tensor(noise((20, 30))).transpose(0, 1)
    planes = triton_pictures.unpack(pixels, 1)
    np.testing.assert_array_equal(planes, to_planes(pixels.numpy(), 1))
    flipped = planes.transpose(2, 3)
    packed = triton_pictures.pack(flipped, (20, 30), torch.uint8)
    np.testing.assert_array_equal(packed, pixels.numpy().swapaxes(0, 1))
    made = triton_pictures.make_views(pixels, 8)
    np.testing.assert_array_equal(made, expected_views(pixels.numpy(), 8))


def test_variants_name_every_kernel_and_argument() -> None:
    variants = triton_pictures.PICTURE_VARIANTS
    assert len({variant.name for variant in variants}) == len(variants)
    for variant in variants:
        assert [*variant.signature, *variant.constants] == variant.kernel.arg_names
    kernels = {name for name in vars(triton_pictures) if name.endswith("_kernel")}
    assert {variant.kernel.__name__ for variant in variants} == kernels
