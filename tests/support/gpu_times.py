"""What `make gpu-check` times besides `lorair-bench kernels`.

    python tests/support/gpu_times.py latency|tilings|released REPORT [--driver]

latency: a picture from host to host, split into copies, kernels, and the host's part with the
waits. tilings: every tiling of every 1x1 convolution of the network. released: the network as
the released code runs it. Times in ms. With --driver the small network in a small picture, on
the tests' driver or the CPU: to see that it runs, no number means anything.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from cuda_driver import Driver
from device import picture_ends
from torch_walk import torch_networks

from lorair.benchmarks.timing.torch_eager import _release_style
from lorair.exporter.build import _model_info
from lorair.exporter.checkpoint.synth import draw_pair, preset
from lorair.kernels.launches import tilings as tilings_of
from lorair.runtime.gpu.cuda import Gpu
from lorair.runtime.gpu.kernels import PictureKernels
from lorair.runtime.gpu.memory import Held
from lorair.runtime.gpu.walk import GpuWalk

_ROUNDS: Final = 20


def milliseconds(work: Callable[[], object], wait: Callable[[], object], rounds: int) -> float:
    """The median of rounds that end with a wait, after two that nobody counts."""
    times = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        work()
        wait()
        times.append(1e3 * (time.perf_counter() - begin))
    return median(times[2:])


def latency(driver: Driver | None) -> dict[str, Any]:
    """Captured, from arrays of the host to arrays of the host, for each size."""
    pair = draw_pair(preset("tiny" if driver else "setting1"))
    sizes = [(48, 64)] if driver else [(256, 256), (512, 512), (1080, 1920)]
    with TemporaryDirectory() as folder:
        kernels = Path(folder, "kernels")
        ends, gpu = picture_ends(driver, kernels), Gpu()
        networks = torch_networks(gpu, driver, pair, fused=driver is None)
        pictures = PictureKernels(gpu, gpu.launcher(kernels), ends)
        held = Held(networks.scratch, 1 << 36)
        walk = GpuWalk(gpu, pictures, _model_info(pair.config), networks, held)
        return {f"{h}x{w}": _split(walk, gpu, (h, w), 2 if driver else _ROUNDS) for h, w in sizes}


def _split(walk: GpuWalk, gpu: Gpu, size: tuple[int, int], rounds: int) -> dict[str, float]:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    begin = time.perf_counter()
    walk.restore(pixels)
    first = 1e3 * (time.perf_counter() - begin)
    gates = walk.restore(pixels).route.gates  # captured
    whole = milliseconds(lambda: walk.restore(pixels), lambda: None, rounds)
    plan = walk._plan(size)
    look, restore = plan._routes[False], walk._restoring(plan, gates)._steps[False, False]

    def copies() -> None:
        plan.inputs.upload()
        plan.routing.guidance.download()
        plan.outputs.download()

    def graphs() -> None:
        look.run()
        restore.run()

    wait = milliseconds(lambda: None, gpu.synchronize, rounds)
    copied = milliseconds(copies, gpu.synchronize, rounds) - wait
    both = milliseconds(graphs, gpu.synchronize, rounds) - wait
    return {
        "first": first, "host_to_host": whole, "copies": copied, "kernels": both - copied,
        "empty_sync": wait, "host_and_syncs": whole - both,
    }  # fmt: skip


def tilings(driver: Driver | None) -> dict[str, Any]:
    """Each 1x1 convolution of the full-size network at 512x512 in fp16, in every tiling."""
    from lorair.benchmarks.kernels.floors import layers
    from lorair.benchmarks.kernels.timing import _inputs, seconds
    from lorair.kernels.spec import FORMS
    from lorair.kernels.triton.run import run

    config, found = preset("setting1").restoration, {}
    with torch.inference_mode():
        for layer in layers(config, 512, 512):
            if not tilings_of(layer.operator, "fp16"):
                continue
            drawn = _inputs(layer, config.num_experts)
            given = {name: drawn[name] for name in FORMS[layer.operator].inputs}
            shape = f"{layer.inputs}->{layer.outputs} {layer.height}x{layer.width}"
            found[f"{layer.operator} {shape}"] = {
                "heuristic": 1e3 * seconds(lambda o=layer.operator, g=given: run(o, g, 1.0)),
                **{
                    f"{tile.m}x{tile.n}x{tile.k}": 1e3
                    * seconds(lambda o=layer.operator, g=given, n=n: run(o, g, 1.0, n))
                    for n, tile in enumerate(tilings_of(layer.operator, "fp16"), 1)
                },
            }
    return found


def released(driver: Driver | None) -> dict[str, Any]:
    """Each convolution copied and merged at every call, in float32, uncaptured."""
    pair = draw_pair(preset("tiny" if driver else "setting1"))
    home = "cpu" if driver else "cuda"
    net, config = pair.modules().restorer, pair.config.restoration
    _release_style(net)
    net.to(home)
    gates = torch.zeros(config.num_experts, device=home)
    gates[0] = 1
    found = {}
    for height, width in [(32, 32)] if driver else [(256, 256), (512, 512)]:
        image = torch.rand(1, 3, height, width, device=home)
        prior = torch.zeros(1, config.prior, device=home)

        def restore(image: Any = image, prior: Any = prior) -> object:
            with torch.no_grad():
                return net(image, prior, gates)

        wait = (lambda: None) if driver else torch.cuda.synchronize
        found[f"{height}x{width}"] = milliseconds(restore, wait, 2 if driver else _ROUNDS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["latency", "tilings", "released"])
    parser.add_argument("report", type=Path)
    parser.add_argument("--driver", action="store_true")
    given = parser.parse_args()
    driver = Driver() if given.driver else None
    found = {"latency": latency, "tilings": tilings, "released": released}[given.what](driver)
    assert driver is None or driver.mistakes == []
    device = "the tests' driver" if driver else Gpu().info.name
    given.report.write_text(json.dumps({"device": device, "ms": found}, indent=1) + "\n")
    sys.stdout.flush()
    if driver is not None:
        os._exit(0)  # the driver ends before what it made does


if __name__ == "__main__":
    main()
