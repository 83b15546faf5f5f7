"""Many convolutions merged in one launch, against each by itself in float64."""

import numpy as np
import pytest
import torch
from reference import merged_kernel

pytest.importorskip("triton")

from lorair.kernels.triton.merge import merge, pack

EXPERTS, RANK, SCALE = 3, 4, 1.5
SIDES = [(16, 16), (1, 16), (16, 1), (80, 70)]


@pytest.mark.parametrize(
    ("dtype", "gates"), [(torch.float32, (0.25, 0, 0.75)), (torch.float16, (0, 1, 0))]
)
def test_all_are_merged_as_one_is(dtype: torch.dtype, gates: tuple[float, ...]) -> None:
    """Sides below, at and beyond a tile's; each lies where it lay."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    convolutions = [
        (draw(out, c, 1, 1), draw(EXPERTS, RANK, c), draw(EXPERTS, out, RANK)) for out, c in SIDES
    ]
    packed = pack(convolutions)
    assert packed.shapes == tuple(SIDES)
    found = merge(packed, torch.tensor(gates, dtype=torch.float32), SCALE)
    assert (found.dtype, found.shape) == (dtype, packed.weights.shape)
    begin = 0
    for weight, A, B in convolutions:
        exact = [t.double().numpy() for t in (weight, A, B)]
        wanted = merged_kernel(*exact, np.array(gates), SCALE)
        part = found[begin : begin + weight.numel()].view(weight.shape)
        tolerance = 1e-6 if dtype == torch.float32 else 2e-3
        torch.testing.assert_close(
            part.double(), torch.from_numpy(wanted), rtol=tolerance, atol=tolerance
        )
        begin += weight.numel()
    assert begin == len(found)
