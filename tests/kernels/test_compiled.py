"""Every compiled kernel as a bundle's user launches it: no Triton, no PyTorch on the GPU.

On a GPU all variants of fp16, bf16 and fp32, both alignments, from cubin and from PTX, against
float64 loops. Without one the tests' driver runs the first way of each operator in Triton's
interpreter, from the launch's bytes: names, order of arguments and grids are what is tested.
"""

from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda_driver import Driver
from device import Arrays, compiled
from operators import ROUNDOFF, SMALLEST, draw, loops

pytest.importorskip("triton")
pytest.importorskip("cuda.core")

from lorair.kernels import spec
from lorair.kernels.launches import DTYPES, DType, Way, plan, ways, workspace
from lorair.kernels.spec import FORMS, output_shapes
from lorair.kernels.variants import variants
from lorair.runtime.bundle.kernels import Compiled
from lorair.runtime.gpu.cuda import Gpu, Launcher

EXPERTS, RANK, SCALE = 3, 16, 2.0
TYPES: dict[DType, torch.dtype] = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}
OPERATORS = (*spec.CONVOLUTIONS, spec.LORA_MOE_DEPTHWISE_GATE, spec.NORM_SCALE_ADD)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def chosen_ways(operator: str, dtype: DType, *, all_of_them: bool) -> list[Way]:
    """All ways, or the first of each alignment."""
    found = sorted(ways(operator, dtype), key=lambda way: bool(way.aligned))
    if all_of_them:
        return found
    return [next(group) for _, group in groupby(found, lambda way: bool(way.aligned))]


FORMS_AND_TYPES = [
    pytest.param(form, dtype, marks=[] if (form, dtype) == ("ptx", "fp16") else pytest.mark.gpu)
    for form, dtype in product(("cubin", "ptx"), DTYPES)
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("form", "dtype"), FORMS_AND_TYPES)
def test_compiled_operators(
    form: str, dtype: DType, operator: str, device: Driver | None, folders: Path
) -> None:
    known = {v.name: v for v in variants(EXPERTS, RANK, dtype)}
    found = compiled(device, folders / dtype, known, dtype=dtype)
    kernels = {kernel.name: kernel for kernel in found if kernel.format == form}
    gpu = Gpu()
    launcher = gpu.launcher(folders / dtype)
    for way in chosen_ways(operator, dtype, all_of_them=device is None):
        check(gpu, launcher, kernels, operator, dtype, way, is_small=device is not None)


def check(
    gpu: Gpu, launcher: Launcher, kernels: dict[str, Compiled], operator: str, dtype: DType,
    way: Way, *, is_small: bool,
) -> None:  # fmt: skip
    """One way to launch an operator, against the loops."""
    kind, height = TYPES[dtype], 2 if is_small else 6
    size = (1 if is_small else 2, 16 if is_small else 48, height, 7 if way.aligned is False else 8)
    more = {} if operator == spec.LORA_MOE_DEPTHWISE_GATE else {"outputs": 32 if is_small else 160}
    given = draw(operator, kind, size, experts=EXPERTS, rank=RANK, **more)
    form, shapes = FORMS[operator], [given[n].shape for n in FORMS[operator].inputs]
    results = output_shapes(operator, shapes, lambda side: side // 2, 1)
    arrays = Arrays(gpu)
    places = {n: arrays.put(bytes_of(given[n])) for n in form.inputs}
    width = kind.itemsize
    for name, shape in zip(form.outputs, results, strict=True):
        places[name.lower()] = arrays.put(np.full(width * int(np.prod(shape)), 0xFF, np.uint8))
    places["sums"] = arrays.put(np.zeros(max(4, workspace(operator, shapes)), np.uint8))
    for launch in plan(operator, dtype, way, shapes, SCALE):
        kernel = kernels[launch.kernel]
        launcher.load(kernel)
        values = places | launch.numbers
        arguments = [values[name] for name, _ in kernel.arguments]
        launcher.launch(kernel, launch.grid, arguments, gpu.stream)
    wanted = loops(operator, given, SCALE, ROUNDOFF[kind])
    for name, shape, right in zip(form.outputs, results, wanted, strict=True):
        raw = arrays.take(places[name.lower()], width * int(np.prod(shape)))
        value = torch.from_numpy(raw).view(kind).double().numpy().reshape(shape)
        worst = (np.abs(value - right.value) / (right.bound + SMALLEST[kind])).max()
        assert worst <= 1, f"{way}: {name} is off by {worst:.2f} times the bound"
    arrays.close()


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy()
