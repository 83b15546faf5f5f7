"""What tests run on WebGPU, in a process of its own: `onnxruntime-webgpu` excludes onnxruntime.

As a program: `on_webgpu.py TASKS RESULTS`. TASKS is a pickled list of (name, bundle, arguments),
RESULTS of what the functions here of those names return, all on one device.
"""

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / ".build" / "webgpu"
"""`make webgpu` installs the library there, and nothing else."""

_ICD = "vk_swiftshader_icd.json"
_HOMES = ("/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome")


def missing() -> str | None:
    """Why nothing can run on WebGPU here; None if it can."""
    if not (LIBRARY / "onnxruntime").is_dir():
        return "onnxruntime-webgpu is not in .build/webgpu: `make webgpu`"
    return None if swiftshader() else "no Chromium with SwiftShader is installed"


def swiftshader() -> Path | None:
    """The folder of a Chromium with its software Vulkan and Vulkan's loader."""
    return next((home for home in map(Path, _HOMES) if (home / _ICD).is_file()), None)


def environment() -> dict[str, str]:
    """For a process that finds the library before onnxruntime, and SwiftShader as its GPU."""
    home = swiftshader()
    assert home is not None
    icd = str(home / _ICD)
    return {
        **os.environ,
        "PYTHONPATH": str(LIBRARY),
        "LD_LIBRARY_PATH": str(home),
        "VK_ICD_FILENAMES": icd,
        "VK_DRIVER_FILES": icd,
    }


def run(tasks: Sequence[tuple[Any, ...]], folder: Path) -> list[Any]:
    """Do the tasks on WebGPU; `folder` is empty."""
    (folder / "tasks").write_bytes(pickle.dumps(list(tasks)))
    argv = [sys.executable, __file__, folder / "tasks", folder / "results"]
    subprocess.run(argv, env=environment(), cwd=folder, check=True, timeout=1200)
    results: list[Any] = pickle.loads((folder / "results").read_bytes())
    return results


def main(tasks: Path, results: Path) -> None:
    """Do the tasks in this process."""
    from lorair import Restorer
    from lorair.runtime.errors import UserError

    opened = cache(lambda bundle: Restorer.open(bundle, "webgpu"))
    done = []
    for name, bundle, *arguments in pickle.loads(tasks.read_bytes()):
        try:
            done.append(globals()[name](opened(bundle), *arguments))
        except UserError as error:
            done.append(error.line())
    results.write_bytes(pickle.dumps(done))


def route(restorer: Any, pixels: np.ndarray) -> Any:
    """The picture's route."""
    return restorer.route(pixels)


def restore(restorer: Any, pixels: np.ndarray, given: Any, tile: Any = "auto") -> np.ndarray:
    """The restored picture under a route."""
    image: np.ndarray = restorer.restore(pixels, given, tile).image
    return image


def branches(restorer: Any, views: Any, image: Any, prior: Any, gates: list[Any]) -> list[Any]:
    """The router's three results, then the restorer's for each gates."""
    backend = restorer.backend
    return [*backend.route(views), *(backend.restore(image, prior, one) for one in gates)]


def nodes(restorer: Any, branch: str, inputs: dict[str, Any], gates: Any) -> dict[str, list[str]]:
    """By provider, the operators of a run, as ONNX Runtime's profile has them."""
    from lorair.runtime.backends import webgpu

    make, made = webgpu._open_session, []

    def opened(graph: Any, options: Any) -> Any:
        options.enable_profiling = True
        made.append(make(graph, options))
        return made[-1]

    webgpu._open_session = opened
    backend = type(restorer.backend)(restorer.bundle, None)
    if branch == "router":
        backend.route(inputs["views"])
    else:
        backend.restore(inputs["image"], inputs["prior"], gates)
    webgpu._open_session = make
    events = json.loads(Path(made[-1].end_profiling()).read_text())
    found = Counter(
        (event["args"]["provider"], event["args"]["op_name"])
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    )
    by_provider: dict[str, list[str]] = {}
    for (provider, operator), count in sorted(found.items()):
        by_provider.setdefault(provider, []).append(f"{count} {operator}")
    return by_provider


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
