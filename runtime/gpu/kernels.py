"""The compiled kernels at the two ends of the walk, and how they are launched.

They are `kernels/triton/pictures.py`, which says what each computes, compiled into the
bundle. All arguments are device addresses; pictures are (H, W, 3) uint8, planes float32.
"""

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.errors import BundleError
from lorair.runtime.gpu.resampling import BicubicTable

RESIZE_ROWS: Final = "resize_rows"
RESIZE_COLUMNS: Final = "resize_columns_fp32"
UNPACK: Final = "unpack_u8_fp32"
PACK: Final = "pack_u8_fp32"
_NAMES: Final = (RESIZE_ROWS, RESIZE_COLUMNS, UNPACK, PACK)


class DeviceTable(NamedTuple):
    """Addresses of a `BicubicTable`'s three arrays; taps: how many the kernel looks at."""

    first: int
    counts: int
    coefficients: int
    taps: int


class DevicePicture(NamedTuple):
    """A picture (height, width, 3) uint8 at an address."""

    address: int
    height: int
    width: int


def has_picture_kernels(kernels: Iterable[str]) -> bool:
    """Whether all of them are among these."""
    return set(_NAMES) <= set(kernels)


def most_taps(source: int, target: int) -> int:
    """At least the taps of every bicubic table from `source` or fewer pixels to `target`."""
    return math.ceil(4 * max(source / target, 1.0)) + 1


class PictureKernels:
    """Loads the four kernels.

    Args:
        gpu: a `cuda.Gpu`.
        launcher: of the bundle's kernels.
        kernels: for this GPU, by name.
    """

    def __init__(self, gpu: Any, launcher: Any, kernels: dict[str, Compiled]) -> None:
        self._gpu, self._launcher = gpu, launcher
        self._kernels = {name: kernels[name] for name in _NAMES}
        for kernel in self._kernels.values():
            launcher.load(kernel)

    def resize_rows(
        self, picture: DevicePicture, table: DeviceTable, resized: int, new_width: int
    ) -> None:
        """Each row to `new_width` pixels: (height, new_width, 3) uint8."""
        tile = self._kernels[RESIZE_ROWS].constants
        self._launch(
            RESIZE_ROWS,
            (-(-picture.height // tile["ROWS"]), -(-3 * new_width // tile["BLOCK"])),
            pixels=picture.address, **table._asdict(), resized=resized,
            height=picture.height, width=picture.width, new_width=new_width,
        )  # fmt: skip

    def resize_columns(
        self, resized: int, table: DeviceTable, views: int, side: int, tiles: int
    ) -> None:
        """(., tiles * side, 3) uint8 to its tiles x tiles views, normalised, side x side each."""
        block = self._kernels[RESIZE_COLUMNS].constants["BLOCK"]
        self._launch(
            RESIZE_COLUMNS,
            (tiles * side, -(-3 * tiles * side // block)),
            resized=resized, first=table.first, counts=table.counts,
            coefficients=table.coefficients, views=views, side=side, tiles=tiles,
        )  # fmt: skip

    def unpack(self, picture: DevicePicture, planes: int, padded: tuple[int, int]) -> None:
        """A picture to planes (3, *padded) in [0, 1], zero right and below."""
        block = self._kernels[UNPACK].constants["BLOCK"]
        self._launch(
            UNPACK,
            (padded[0], -(-padded[1] // block)),
            pixels=picture.address, planes=planes, height=picture.height, width=picture.width,
            padded_height=padded[0], padded_width=padded[1],
        )  # fmt: skip

    def pack(self, planes: int, picture: DevicePicture, padded: tuple[int, int], bad: int) -> None:
        """Planes to a picture; the int32 at `bad` becomes 1 if a value is not finite."""
        block = self._kernels[PACK].constants["BLOCK"]
        self._launch(
            PACK,
            (picture.height, -(-3 * picture.width // block)),
            planes=planes, pixels=picture.address, bad=bad, width=picture.width,
            padded_height=padded[0], padded_width=padded[1],
        )  # fmt: skip

    def _launch(self, name: str, grid: tuple[int, int], **values: int) -> None:
        kernel = self._kernels[name]
        try:
            arguments = [values[argument] for argument, _ in kernel.arguments]
        except KeyError as error:
            raise BundleError(
                f"the bundle's kernel {name} is of another version of lorair",
                wanted=", ".join(values),
                found=", ".join(argument for argument, _ in kernel.arguments),
                hint="build the bundle again",
            ) from error
        self._launcher.launch(kernel, (*grid, 1), arguments, self._gpu.stream)


def fill_table(table: BicubicTable, first: Any, counts: Any, coefficients: Any) -> None:
    """Write a table into arrays that may have room for more taps than it has."""
    first[:], counts[:] = table.first, table.counts
    coefficients[: len(table.coefficients)] = table.coefficients
