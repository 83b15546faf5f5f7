"""Whether a graph computes what PyTorch computes, and where not, which node differs."""

from typing import Final

MAX_ERROR: Final = 1e-4
"""Largest error of a restored value that float32 arithmetic may have."""

MIN_PSNR: Final = 50.0
"""Least PSNR in dB that arithmetic of lower precision may have against float32."""

ROUTE_CHECKS: Final = 14
"""Pictures on which a quantized router is checked; at full size each takes three seconds, and
ten more if it is compared with PyTorch."""

MIN_COSINE: Final = 0.9995
"""Least cosine between a quantized router's prior and the float32 one."""
