"""The fused kernels, counted and timed."""
