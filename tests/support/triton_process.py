"""NVIDIA's Triton Inference Server in a process of its own, on a model repository.

`make triton` fetches it into `.build/triton`, with what its Python backend needs beside it.
"""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
from processes import wait_for

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".build" / "triton"
_SERVER = HOME / "lib" / "pytriton" / "tritonserver"
_TYPES = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}


def missing() -> str | None:
    """Why no server can run here; None if one can."""
    return None if _SERVER.is_dir() else "Triton is not in .build/triton: `make triton`"


class Server:
    """A server that is ready. log: what it says."""

    def __init__(self, address: str, log: Path) -> None:
        self.address, self.log = address, log
        self._client = httpx.Client(base_url=f"http://{address}", timeout=300)
        self.close = self._client.close

    def is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether it answers that it is; an error if it has ended."""
        assert process.poll() is None, self.log.read_text()
        try:
            return self._client.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def infer(
        self, model: str, given: Mapping[str, np.ndarray], wanted: list[str] | None = None
    ) -> dict[str, np.ndarray]:
        """What a model makes of tensors; raises httpx.HTTPStatusError."""
        inputs = [
            {"name": k, "shape": v.shape, "datatype": _TYPES[str(v.dtype)], "data": v.tolist()}
            for k, v in given.items()
        ]
        outputs = {"outputs": [{"name": name} for name in wanted]} if wanted else {}
        answer = self._client.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **outputs})
        if answer.is_error:
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
        types = {"UINT8": np.uint8, "BOOL": np.bool_, "FP32": np.float32, "INT64": np.int64}
        return {
            o["name"]: np.array(o["data"], types[o["datatype"]]).reshape(o["shape"])
            for o in answer.json()["outputs"]
        }


@contextmanager
def server(repository: Path, folder: Path) -> Iterator[Server]:
    """Start a server on a model repository; its backends and log lie in `folder`."""
    backends = _backends(folder / "backends")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        _SERVER / "bin" / "tritonserver", f"--model-repository={repository}",
        f"--backend-directory={backends}", "--http-address=127.0.0.1", f"--http-port={port}",
        "--allow-grpc=false", "--allow-metrics=false", "--exit-timeout-secs=1",
    ]  # fmt: skip
    log = folder / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=_environment(), stdout=out, stderr=out)
    found = Server(f"127.0.0.1:{port}", log)
    try:
        wait_for(lambda: found.is_ready(process))
        yield found
    finally:
        found.close()
        process.terminate()
        process.wait()


def _backends(folder: Path) -> Path:
    """The package's Python backend with this Python's stub, and ours for ONNX Runtime's."""
    shutil.copytree(_SERVER / "backends", folder)
    version = "{}.{}".format(*sys.version_info)
    stub = _SERVER / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, folder / "python")
    (folder / "onnxruntime").mkdir()
    shutil.copy(Path(__file__).with_name("triton_backend.py"), folder / "onnxruntime" / "model.py")
    return folder


def _environment() -> dict[str, str]:
    """Its stub wants NumPy 1, which lies in `.build/triton`; ONNX Runtime is the tests' own."""
    libraries = [HOME / "lib" / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    packages = [HOME / "lib", Path(onnxruntime.__file__).parents[1]]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
        "OMP_NUM_THREADS": "1",
    }
