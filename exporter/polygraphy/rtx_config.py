"""What lorair tells TensorRT-RTX's builder beyond what Polygraphy has an option for."""

from importlib import import_module
from typing import Any


def postprocess_config(builder: Any, network: Any, config: Any) -> None:
    """Turn TF32 off (products of 10-bit mantissas), and allocation as the engine runs."""
    trt = import_module("tensorrt_rtx")
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
