"""The walk on a GPU with both networks as PyTorch's modules, between a plan's own addresses.

On a GPU they run in the plan's stream, and are captured with it; on the tests' driver the same
modules run on the CPU, as work of its stream.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import torch
from cuda_driver import Driver

from lorair.exporter.checkpoint.checkpoint import Pair
from lorair.exporter.model.fold import fold
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.memory import Scratch
from lorair.runtime.gpu.network import Tensor

Call = Callable[..., Any]


class ModuleBranch:
    """A function of tensors, whose weights PyTorch holds.

    inputs, outputs: the tensors' names, in the function's order.
    """

    size = 0

    def __init__(
        self, gpu: Gpu, driver: Driver | None, call: Call, inputs: str, outputs: str
    ) -> None:
        self.gpu, self.driver, self.call = gpu, driver, call
        self.inputs, self.outputs = inputs.split(), outputs.split()
        # Of its own: what a graph computes in must be nobody else's.
        self.pool = None if driver else torch.cuda.MemPool()

    def bind(self, tensors: Mapping[str, Tensor]) -> "_Run":
        return _Run(self, {name: tensors[name] for name in (*self.inputs, *self.outputs)})


class _Run:
    size, capturable = 0, True

    def __init__(self, branch: ModuleBranch, tensors: Mapping[str, Tensor]) -> None:
        self._branch, self._tensors = branch, tensors
        self._there = {} if branch.driver else {n: _on_gpu(t) for n, t in tensors.items()}

    def prepare(self) -> int:
        return 0

    def enqueue(self) -> None:
        branch = self._branch
        if branch.driver is not None:
            branch.driver.enqueue(branch.gpu.stream, self._on_driver)
            return
        with ExitStack() as stack:
            stack.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(branch.gpu.stream)))
            stack.enter_context(torch.cuda.use_mem_pool(branch.pool))  # type: ignore[arg-type]
            self._compute(self._there)

    def close(self) -> None: ...

    def _on_driver(self) -> None:
        driver, outputs = self._branch.driver, self._branch.outputs
        assert driver is not None
        arrays = {n: driver.array(t, writes=n in outputs) for n, t in self._tensors.items()}
        self._compute({name: torch.from_numpy(array) for name, array in arrays.items()})

    def _compute(self, places: Mapping[str, torch.Tensor]) -> None:
        with torch.inference_mode():
            found = self._branch.call(*(places[name] for name in self._branch.inputs))
            results = found if isinstance(found, tuple) else (found,)
            for name, result in zip(self._branch.outputs, results, strict=True):
                places[name].copy_(result)


def _on_gpu(tensor: Tensor) -> torch.Tensor:
    interface = {"shape": tensor.shape, "typestr": "<f4", "data": (tensor.address, False)}
    array = SimpleNamespace(__cuda_array_interface__=interface | {"version": 2})
    return torch.as_tensor(array, device="cuda")


def torch_networks(gpu: Gpu, driver: Driver | None, pair: Pair, *, fused: bool = False) -> Any:
    """A pair's networks; fused: the restorer in fp16 by the fused operators."""
    home = "cpu" if driver else "cuda"
    router, net = (module.to(home) for module in pair.modules())
    restorer: Call = fold(net).half().to(home) if fused else net

    def restore(image: Any, prior: Any, gates: Any) -> Any:
        return restorer(image.half(), prior.half(), gates) if fused else net(image, prior, gates)

    outputs = "logits prior gates"
    branches = {
        "router": ModuleBranch(gpu, driver, router, "views", outputs),
        "restorer": ModuleBranch(gpu, driver, restore, "image prior gates", "restored"),
    }
    return SimpleNamespace(
        scratch=Scratch(gpu), router=lambda: branches["router"], reserved=lambda: 0,
        restorer=lambda size, gates: branches["restorer"],
        largest=lambda: None, bytes_a_pixel=lambda: None,
    )  # fmt: skip
