"""The router in int8, for CPUs."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

_EVERYTHING = logging.CRITICAL


def quantize_router(path: Path) -> None:
    """Replace a float32 `router.onnx` and its data by one whose matrix products are int8.

    Weights: signed 8 bit, one scale a column, in the range of 7 bits: on processors
    without VNNI the products of full 8-bit values would saturate. Activations: 8 bit, with
    the scale of each tensor taken as it runs ("dynamic"); a transformer's outliers differ
    from picture to picture, and no calibration set is needed. What is small and decides
    the route (patch embedding, projection, extractor, head) stays float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    # Shapes that it infers itself; those of the tracer are in its way.
    del model.graph.value_info[:]
    # Linear layers of the extractor and the head; it makes products of them, of this name.
    small = [f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm"]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _quiet():
        quantized = Path(folder) / path.name
        quantize_dynamic(
            model,
            quantized,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=small,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True},
        )
        for name in (path.name, f"{path.name}.data"):
            (Path(folder) / name).replace(path.parent / name)


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises a preparation that the tracer has already done."""
    before = logging.root.manager.disable
    logging.disable(_EVERYTHING)
    try:
        yield
    finally:
        logging.disable(before)
