"""The full-size network on a GPU: fused kernels in fp16 against PyTorch's own in float32."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch

from lorair.exporter.checkpoint.synth import draw_pair, preset
from lorair.exporter.model import RestorationNet
from lorair.exporter.model.fold import fold

LEAST_PSNR = 50.0
"""dB, which `lorair-export verify` asks of fp16 bundles."""


@cache
def full_size() -> RestorationNet:
    """With random weights, on the CPU."""
    return draw_pair(preset("setting1")).modules().restorer


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(512, 512), (1088, 1920)], ids=str)
@pytest.mark.parametrize("gates", [(1.0, 0.0, 0.0), (0.2, 0.3, 0.5)], ids=str)
def test_full_size_fp16(
    size: tuple[int, int], gates: tuple[float, ...], record_property: Callable[[str, object], None]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    net = full_size()
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, *size, generator=generator).cuda()
    prior = torch.randn(1, preset("setting1").restoration.prior, generator=generator).cuda()
    chosen = torch.tensor(gates).cuda()
    with torch.inference_mode():
        folded = fold(net).half().cuda()
        found = folded(image.half(), prior.half(), chosen).float()
        del folded
        wanted = copy.deepcopy(net).cuda()(image, prior, chosen)
    error = (found - wanted).abs()
    psnr = float(-10 * (error**2).mean().log10())
    record_property("psnr", psnr)
    record_property("largest_error", float(error.max()))
    assert torch.isfinite(found).all()
    assert psnr >= LEAST_PSNR
