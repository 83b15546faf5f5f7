"""The whole walk with PyTorch's modules: on a GPU, or on the tests' driver without one."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda_driver import Driver
from device import picture_ends
from torch_walk import torch_networks

from lorair.exporter.build import _model_info
from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.kernels import PictureKernels
from lorair.runtime.gpu.memory import Held
from lorair.runtime.gpu.walk import GpuWalk
from lorair.runtime.pixels import from_planes, make_views, to_planes

SIZES = [(41, 60), (48, 64), (33, 49)]
"""Of one padded size."""

Make = Callable[..., GpuWalk]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ends") / "kernels"


@pytest.fixture
def make(device: Driver | None, tiny_pair: Pair, folder: Path) -> Make:
    """A walk over the tiny networks."""
    if device is None and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    ends, gpu = picture_ends(device, folder), Gpu()
    model = _model_info(tiny_pair.config)

    def made(budget: int = 1 << 30) -> GpuWalk:
        networks = torch_networks(gpu, device, tiny_pair)
        kernels = PictureKernels(gpu, gpu.launcher(folder), ends)
        walk = GpuWalk(gpu, kernels, model, networks, Held(networks.scratch, budget))
        walk.restore(np.zeros((16, 16, 3), np.uint8))  # the router and the libraries are there
        return walk

    return made


def on_the_host(pair: Pair, pixels: np.ndarray) -> np.ndarray:
    """The same modules on the CPU, and this project's own views and planes."""
    router, net = pair.modules()
    with torch.inference_mode():
        views = torch.from_numpy(make_views(pixels, pair.config.router.side))
        _, prior, gates = router(views)
        restored = net(torch.from_numpy(to_planes(pixels, 16)), prior, gates[0]).numpy()
    return np.asarray(from_planes(restored, pixels.shape[:2], pixels.dtype))


def test_eager_captured_and_replayed_are_one_picture(
    make: Make, tiny_pair: Pair, photo: np.ndarray
) -> None:
    """To the bit among each other, whatever ran between; near the CPU's."""
    walk, first = make(), {}
    for turn in range(3):  # the very first is not captured, the second is, the others replay
        for size in SIZES:
            pixels = np.ascontiguousarray(photo[: size[0], : size[1]])
            found = walk.restore(pixels)
            assert found.is_finite
            if turn == 0:
                first[size] = found
                off = np.abs(found.pixels.astype(int) - on_the_host(tiny_pair, pixels))
                assert off.max() <= 1
                assert (off == 0).mean() >= 0.999
            else:
                np.testing.assert_array_equal(found.pixels, first[size].pixels)
                np.testing.assert_array_equal(found.route.prior, first[size].route.prior)


def test_a_size_on_its_own_is_that_of_a_shared_graph(make: Make, photo: np.ndarray) -> None:
    """Uncaptured on a fresh walk, and as the graph has it that another size captured."""
    pixels = np.ascontiguousarray(photo[:33, :49])
    alone = make().restore(pixels).pixels
    walk = make()
    for size in SIZES[:2]:
        walk.restore(np.ascontiguousarray(photo[: size[0], : size[1]]))
    np.testing.assert_array_equal(walk.restore(pixels).pixels, alone)


def test_plans_that_are_dropped_and_made_again(make: Make, photo: np.ndarray) -> None:
    """A budget that holds one plan: pictures stay the same, and memory does not grow."""
    walk = make(budget=1)
    pictures = [np.ascontiguousarray(photo[:h, :w]) for h, w in ((48, 64), (32, 48), (16, 16))]
    wanted, free = [walk.restore(p).pixels for p in pictures], []
    for _ in range(3):
        for pixels, right in zip(pictures, wanted, strict=True):
            np.testing.assert_array_equal(walk.restore(pixels).pixels, right)
        gc.collect()
        free.append(walk._gpu.free_memory())
    assert free[-1] >= free[0] - (1 << 20)
