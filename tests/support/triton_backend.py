"""Triton's `onnxruntime` backend as a Python-based one, which the server's process loads.

The package that carries the server has no other backend. It does what the real one does here:
a session a model, a request at a time, the outputs that were asked for.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

# The server's Python does not look at the variable itself.
sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)

import onnxruntime  # noqa: E402
import triton_python_backend_utils as pb  # noqa: E402


class TritonPythonModel:
    """A model of the repository."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        file = config["default_model_filename"] or "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(args["model_repository"], args["model_version"], file)
        self.session = onnxruntime.InferenceSession(path, options)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        names = list(request.requested_output_names())
        try:
            made = self.session.run(names, given)
        except Exception as error:  # to the client, as the real one does
            return pb.InferenceResponse([], pb.TritonError(str(error)))
        return pb.InferenceResponse([pb.Tensor(n, v) for n, v in zip(names, made, strict=True)])
